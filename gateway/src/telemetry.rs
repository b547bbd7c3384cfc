//! What an operator sees: metrics with bounded labels, and structured logs. Labels and fields are
//! words of the policy, of the configuration or of this program; a record's values have no way in.

mod exposition;
mod process;

use std::{
    io::{self, Write},
    sync::atomic::AtomicU64,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet, EncodeLabelValue, LabelValueEncoder,
        text::{encode, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

pub(crate) use exposition::{OPENMETRICS, PLAIN};
use sluicegate_policies::{RefusalCode, Table};

use crate::identify::Failure;

/// What this program is, for `--version`, the log's first line and `sluicegate_build_info`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
pub const COMMIT: &str = env!("SLUICEGATE_COMMIT");

/// Where a record ended; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// Why records of a dataset count in no window of a release. Depends on each record, the plan and
/// the time of arrival alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UncountedLabel {
    pub release: String,
    pub code: &'static str,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IssuerLabel {
    pub issuer: String,
}

/// A listener's certificate or its client authorities.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabel {
    pub listener: String,
    pub what: &'static str,
}

/// A rule, or its mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ExpiryLabel {
    pub rule: String,
    pub what: &'static str,
}

/// Every metric of the gateway.
pub struct Metrics {
    registry: Registry,
    unprefixed: Registry,
    pub records: Family<RecordLabels, Counter>,
    pub deliveries: Family<RegionLabel, Counter>,
    pub transfers: Family<RegionLabel, Counter>,
    pub shadow: Family<RuleLabel, Counter>,
    pub login_failures: Family<CodeLabel, Counter>,
    pub fail_closed: Family<CodeLabel, Counter>,
    pub reloads: Family<OutcomeLabel, Counter>,
    pub releases: Family<ReleaseOutcomeLabel, Counter>,
    pub uncounted: Family<UncountedLabel, Counter>,
    pub release_spent: Family<ReleaseLabel, Gauge<f64, AtomicU64>>,
    pub release_lag: Family<ReleaseLabel, Gauge>,
    pub ledger_seconds: Histogram,
    pub publish_seconds: Histogram,
    pub in_flight: Gauge,
    pub connections_closed: Family<CodeLabel, Counter>,
    pub ready: Gauge,
    pub ledger_queue: Gauge,
    pub ledger_bytes: Gauge,
    pub open_intents: Gauge,
    pub gone_intents: Gauge,
    pub key_sets: Family<IssuerLabel, Gauge>,
    pub certificate_expiry: Family<CertificateLabel, Gauge>,
    pub policy_expiry: Family<ExpiryLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sluicegate"),
            unprefixed: Registry::default(),
            records: Family::default(),
            deliveries: Family::default(),
            transfers: Family::default(),
            shadow: Family::default(),
            login_failures: Family::default(),
            fail_closed: Family::default(),
            reloads: Family::default(),
            releases: Family::default(),
            uncounted: Family::default(),
            release_spent: Family::default(),
            release_lag: Family::default(),
            ledger_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            publish_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 17)),
            in_flight: Gauge::default(),
            connections_closed: Family::default(),
            ready: Gauge::default(),
            ledger_queue: Gauge::default(),
            ledger_bytes: Gauge::default(),
            open_intents: Gauge::default(),
            gone_intents: Gauge::default(),
            key_sets: Family::default(),
            certificate_expiry: Family::default(),
            policy_expiry: Family::default(),
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
        self.unprefixed.register_collector(Box::new(process::Process));
        let r = &mut self.registry;
        let build = vec![
            ("version", VERSION),
            ("commit", COMMIT),
            ("language", sluicegate_policies::API_VERSION),
            ("ledger", sluicegate_audit::MAGIC),
        ];
        r.register("build", "The program's version and formats", Info::new(build));
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
            "Requests refused because something a decision needs was unavailable",
            self.fail_closed.clone(),
        );
        r.register(
            "connections_closed",
            "Connections closed by the gateway, by reason",
            self.connections_closed.clone(),
        );
        r.register("reloads", "Reloads by what was reloaded and outcome", self.reloads.clone());
        r.register("releases", "Panes by release and outcome", self.releases.clone());
        r.register(
            "release_uncounted",
            "Records that count in no window of a release, or not in a sum of it, by reason",
            self.uncounted.clone(),
        );
        r.register(
            "release_spent_ratio",
            "Share of the current period's budget that has been spent",
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
        self.register_state();
    }

    /// What is looked at with each scrape.
    fn register_state(&mut self) {
        let r = &mut self.registry;
        r.register(
            "ledger_queue_length",
            "Appends that wait for the ledger",
            self.ledger_queue.clone(),
        );
        r.register("ledger_size_bytes", "What the ledger's store takes", self.ledger_bytes.clone());
        r.register(
            "ledger_open_intents",
            "Intents of all nodes without an outcome",
            self.open_intents.clone(),
        );
        r.register(
            "ledger_gone_intents",
            "Those of nodes that are gone",
            self.gone_intents.clone(),
        );
        r.register(
            "key_set_usable",
            "1 while callers can log in by an issuer's keys, else 0",
            self.key_sets.clone(),
        );
        r.register(
            "certificate_expiry_timestamp_seconds",
            "When a listener's certificate, or the first of its client authorities, expires",
            self.certificate_expiry.clone(),
        );
        r.register(
            "policy_expiry_timestamp_seconds",
            "When a rule or the mechanism of a transfer ends",
            self.policy_expiry.clone(),
        );
    }

    /// All metrics as OpenMetrics text, or in Prometheus' older format.
    pub fn text(&self, openmetrics: bool) -> String {
        let mut text = String::new();
        // The process's series first: the end mark comes with the last.
        let encoded = encode_registry(&mut text, &self.unprefixed)
            .and_then(|()| encode(&mut text, &self.registry));
        match (encoded, openmetrics) {
            (Err(_), _) => String::new(),
            (Ok(()), true) => text,
            (Ok(()), false) => exposition::plain(&text),
        }
    }

    /// Series that alerts ask for are there before the first event: those of the configuration.
    pub fn expect_regions<'r>(&self, regions: impl Iterator<Item = &'r str>) {
        for region in regions {
            let label = RegionLabel { region: region.to_owned() };
            drop(self.deliveries.get_or_create(&label));
            drop(self.transfers.get_or_create(&label));
        }
        for code in ["ledger-unavailable", "policy-not-in-force"] {
            drop(self.fail_closed.get_or_create(&CodeLabel { code: code.to_owned() }));
        }
        for failure in Failure::ALL {
            let code = failure.code().to_owned();
            drop(self.login_failures.get_or_create(&CodeLabel { code }));
        }
        for what in ["policy", "certificates"] {
            for outcome in ["taken", "refused"] {
                drop(self.reloads.get_or_create(&OutcomeLabel { what, outcome }));
            }
        }
    }

    /// And those of a policy.
    pub fn expect_policy(&self, table: &Table) {
        for dataset in table.datasets() {
            self.count_record(&dataset.name, FateLabel::Delivered, "", 0);
            self.count_record(&dataset.name, FateLabel::Failed, "pipeline-unavailable", 0);
            for code in RefusalCode::ALL {
                self.count_record(&dataset.name, FateLabel::Refused, code.as_str(), 0);
            }
        }
        for code in RefusalCode::ALL {
            self.count_record("", FateLabel::Refused, code.as_str(), 0);
        }
        self.policy_expiry.clear();
        for expiry in table.expiries() {
            let label = ExpiryLabel { rule: expiry.rule.to_string(), what: expiry.what };
            self.policy_expiry.get_or_create(&label).set(expiry.at.0.div_euclid(1_000));
        }
        for plan in table.releases() {
            let release = plan.name.to_string();
            let label = ReleaseOutcomeLabel { release, outcome: "published" };
            drop(self.releases.get_or_create(&label));
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

/// The cause of a trouble is told up to here, by the log and by `/readyz`.
pub const CAUSE_BYTES_MAX: usize = 2_000;

/// A text of `max` bytes at most: what is beyond is an ellipsis.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push_str(" …");
    }
    text
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// An entry is one line, whatever its fields hold; tracing writes each with one call.
struct SingleLines;

impl Write for SingleLines {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let (line, end) = match entry.split_last() {
            Some((b'\n', line)) => (line, &b"\n"[..]),
            _ => (entry, &b""[..]),
        };
        let mut single = Vec::with_capacity(entry.len());
        for byte in line {
            match byte {
                b'\n' => single.extend_from_slice(b"\\n"),
                b'\r' => single.extend_from_slice(b"\\r"),
                byte => single.push(*byte),
            }
        }
        single.extend_from_slice(end);
        io::stderr().lock().write_all(&single)?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Starts logging to standard error. `filter` is in tracing's directive syntax.
pub fn start_logging(format: LogFormat, filter: &str) {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(|| SingleLines).with_target(false);
    // Started twice (in tests), the first one stays.
    let _started = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("aéz".to_owned(), 2), "a …");
        assert_eq!(cut("aéz".to_owned(), 3), "aé …");
    }
}
