//! What an operator sees: metrics with bounded labels, and structured logs. Labels and fields are
//! words of the policy, of the configuration or of this program; a record's values have no way in.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Where a record ended; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FateLabel {
    Delivered,
    Aggregated,
    Refused,
    Failed,
}

impl EncodeLabelValue for FateLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Delivered => "delivered",
            Self::Aggregated => "aggregated",
            Self::Refused => "refused",
            Self::Failed => "failed",
        };
        word.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordLabels {
    pub dataset: String,
    pub fate: FateLabel,
    /// The refusal's or failure's code; empty for delivered.
    pub code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RegionLabel {
    pub region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    pub code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleLabel {
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReleaseLabel {
    pub release: String,
}

/// What became of a pane: `published`, or why not. Says nothing about data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReleaseOutcomeLabel {
    pub release: String,
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub what: &'static str,
    pub outcome: &'static str,
}

/// Every metric of the gateway.
pub struct Metrics {
    registry: Registry,
    pub records: Family<RecordLabels, Counter>,
    pub deliveries: Family<RegionLabel, Counter>,
    pub transfers: Family<RegionLabel, Counter>,
    pub shadow: Family<RuleLabel, Counter>,
    pub login_failures: Family<CodeLabel, Counter>,
    pub fail_closed: Family<CodeLabel, Counter>,
    pub reloads: Family<OutcomeLabel, Counter>,
    pub releases: Family<ReleaseOutcomeLabel, Counter>,
    pub release_spent: Family<ReleaseLabel, Gauge<f64, AtomicU64>>,
    pub release_lag: Family<ReleaseLabel, Gauge>,
    pub ledger_seconds: Histogram,
    pub publish_seconds: Histogram,
    pub in_flight: Gauge,
    pub connections_closed: Family<CodeLabel, Counter>,
    pub ready: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sluicegate"),
            records: Family::default(),
            deliveries: Family::default(),
            transfers: Family::default(),
            shadow: Family::default(),
            login_failures: Family::default(),
            fail_closed: Family::default(),
            reloads: Family::default(),
            releases: Family::default(),
            release_spent: Family::default(),
            release_lag: Family::default(),
            ledger_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            publish_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 17)),
            in_flight: Gauge::default(),
            connections_closed: Family::default(),
            ready: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// A connection that its peer did not end.
    pub fn count_connection_closed(&self, why: &'static str) {
        let code = why.to_owned();
        self.connections_closed.get_or_create(&CodeLabel { code }).inc();
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("records", "Records by dataset and fate", self.records.clone());
        r.register("deliveries", "Record copies delivered, by region", self.deliveries.clone());
        r.register(
            "transfers",
            "Record copies that left their subject's jurisdiction, by region",
            self.transfers.clone(),
        );
        r.register(
            "shadow_decisions",
            "Records a shadow rule would have decided otherwise",
            self.shadow.clone(),
        );
        r.register("login_failures", "Failed logins by reason", self.login_failures.clone());
        r.register(
            "fail_closed",
            "Requests refused because something a decision needs was away",
            self.fail_closed.clone(),
        );
        r.register(
            "connections_closed",
            "Connections that the gateway closed, by reason",
            self.connections_closed.clone(),
        );
        r.register("reloads", "Reloads by what and outcome", self.reloads.clone());
        r.register("releases", "Panes by release and outcome", self.releases.clone());
        r.register(
            "release_spent_ratio",
            "What the current period has cost one unit, of what it may cost",
            self.release_spent.clone(),
        );
        r.register(
            "release_lag_seconds",
            "How long the oldest pane that should have been released has waited",
            self.release_lag.clone(),
        );
        r.register(
            "ledger_append_duration_seconds",
            "Time until an intent was durable",
            self.ledger_seconds.clone(),
        );
        r.register(
            "publish_duration_seconds",
            "Time from a batch's arrival to its answer",
            self.publish_seconds.clone(),
        );
        r.register("requests_in_flight", "Requests being worked on", self.in_flight.clone());
        r.register("ready", "1 when ready, else 0", self.ready.clone());
    }

    /// The OpenMetrics text of all metrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    pub fn count_record(&self, dataset: &str, fate: FateLabel, code: &str, records: u64) {
        let labels = RecordLabels { dataset: dataset.to_owned(), fate, code: code.to_owned() };
        self.records.get_or_create(&labels).inc_by(records);
    }

    pub fn count_fail_closed(&self, code: &str) {
        self.fail_closed.get_or_create(&CodeLabel { code: code.to_owned() }).inc();
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging to standard error. `filter` is in tracing's directive syntax.
pub fn start_logging(format: LogFormat, filter: &str) {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // Started twice (in tests), the first one stays.
    let _started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
