//! `sluicegate budget`: what releases have cost each person, and what they will. Reads the ledger
//! without write access; says nothing about data, for the ledger does not know any of it here.
//! What writes is an operator's: `block` (nothing more is released in a period, for good), `witness`
//! and `draw-older`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::Serialize;
use sluicegate_audit as audit;
use sluicegate_policies::release::{
    Accounting, ReleasePlan, conversion_delta_atto, rho_to_epsilon,
};

use super::{Exit, Output, eprint, load_config_as, print, release::utc, runtime};
use crate::{
    account::Account,
    ambient::{Ambient, Clock, SystemClock},
    config::Config,
    decide::read_bundle,
    release::witness::{self, Witness},
};

const DAY_MS: i64 = 86_400_000;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration of the gateway that writes the ledger
    #[arg(long, value_name = "FILE", global = true, default_value = "sluicegate.yaml")]
    config: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

const BLOCK_EXAMPLE: &str = "\
Example:
  sluicegate budget block visits --period current --because 'volume restored'";

const WITNESS_EXAMPLE: &str = "\
Example:
  sluicegate budget witness --because 'first start with a witness'";
const OLDER_EXAMPLE: &str = "\
Example:
  sluicegate budget draw-older visits --because 'stopped before the backup, restored before the start'";

#[derive(clap::Subcommand)]
enum Verb {
    /// Show what each period has cost one person so far, by dataset and release
    Show {
        /// Only this dataset
        #[arg(long, value_name = "NAME")]
        dataset: Option<String>,
    },
    /// Show what the releases in force will cost per window, per period and in 30 days
    Forecast,
    /// Permanently stop releases from a dataset in a period
    ///
    /// For an operator who doubts that the ledger knows everything that was released, such as after a
    /// restore. The block is recorded in the ledger, applies to all gateways at once, and cannot be
    /// undone. Gateways may be running.
    #[command(after_help = BLOCK_EXAMPLE)]
    Block {
        /// The dataset
        #[arg(value_name = "DATASET")]
        dataset: String,
        /// The start of a period as `budget show` prints it, or `current`; may be repeated
        #[arg(long = "period", value_name = "START", required = true)]
        periods: Vec<String>,
        /// The reason; it is recorded in the ledger, so do not name anyone
        #[arg(long, value_name = "TEXT", value_parser = super::because)]
        because: String,
    },
    /// Begin this node's witness from the ledger as it is
    ///
    /// For a ledger that has charges from before it had a witness, for a node with a witness folder of
    /// its own that joins such a ledger, and after a witness was lost while the ledger was not. You
    /// vouch that the ledger has every charge: this is recorded in it. A gateway may be running.
    #[command(after_help = WITNESS_EXAMPLE)]
    Witness {
        /// The node; overrides the configuration and SLUICEGATE_NODE
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// The reason; it is recorded in the ledger, so do not name anyone
        #[arg(long, value_name = "TEXT", value_parser = super::because)]
        because: String,
    },
    /// Publish a dataset's windows of earlier periods though charges may be lost
    ///
    /// For a restored ledger, if you know that nothing was released since the copy was made. Run it
    /// before the gateway starts: it is about windows that ended before now, in periods that are over
    /// by then. The current period stays blocked. The request is recorded in the ledger.
    #[command(after_help = OLDER_EXAMPLE)]
    DrawOlder {
        /// The dataset
        #[arg(value_name = "DATASET")]
        dataset: String,
        /// The reason; it is recorded in the ledger, so do not name anyone
        #[arg(long, value_name = "TEXT", value_parser = super::because)]
        because: String,
    },
}

pub(super) fn run(args: &Args, output: Output) -> Exit {
    let node = match &args.verb {
        Verb::Witness { node, .. } => node.clone(),
        _ => None,
    };
    let done = load_config_as(&args.config, node).and_then(|config| {
        let plans = plans(&config)?;
        match &args.verb {
            Verb::Show { dataset } => {
                let shown = runtime()?.block_on(show(&config, dataset.as_deref(), &plans))?;
                print_as(&shown, output, |shown| shown.iter().for_each(Period::print));
            }
            Verb::Forecast => {
                let now_ms = SystemClock.now_ms().0;
                // What was spent already counts as well, as far as there is a ledger that says it.
                let now = runtime()?.block_on(spent(&config)).unwrap_or_default();
                let forecast: Vec<Forecast> =
                    plans.iter().map(|plan| Forecast::of(plan, &plans, &now, now_ms)).collect();
                print_as(&forecast, output, |all| all.iter().for_each(Forecast::print));
            }
            Verb::Block { dataset, periods, because } => {
                let block = block(&config, &plans, dataset, periods, because);
                let blocked = runtime()?.block_on(block)?;
                print_as(&blocked, output, |all| all.iter().for_each(Blocked::print));
            }
            Verb::Witness { because, .. } => {
                runtime()?.block_on(begin_witness(&config, because))?;
                let node = &config.node;
                print_as(&serde_json::json!({ "node": node }), output, |_| {
                    print(format!("node `{node}` has a witness"));
                });
            }
            Verb::DrawOlder { dataset, because } => {
                let until_us =
                    runtime()?.block_on(draw_older(&config, &plans, dataset, because))?;
                let asked =
                    serde_json::json!({ "dataset": dataset, "until": audit::utc(until_us) });
                print_as(&asked, output, |_| {
                    let until = audit::utc(until_us);
                    print(format!(
                        "{dataset}: windows of earlier periods until {until} may be published"
                    ));
                });
            }
        }
        Ok(Exit::Ok)
    });
    done.unwrap_or_else(|exit| exit)
}

fn print_as<T: Serialize>(what: &T, output: Output, human: impl FnOnce(&T)) {
    match output {
        Output::Human => human(what),
        Output::Json => print(serde_json::to_string_pretty(what).unwrap_or_default()),
    }
}

fn plans(config: &Config) -> Result<Vec<std::sync::Arc<ReleasePlan>>, Exit> {
    let sources = read_bundle(&config.policies).map_err(|error| {
        eprint(error);
        Exit::Usage
    })?;
    let bundle = super::policy::compile(&sources, Output::Human)?;
    Ok(bundle.releases(SystemClock.now_ms()))
}

/// One period of one dataset.
#[derive(Serialize)]
struct Period {
    dataset: String,
    /// RFC 3339, UTC.
    begins: String,
    unit: &'static str,
    /// What one person may have lost, in nano-units and 10^-18.
    spent_loss: String,
    spent_delta: String,
    cap_loss: u64,
    cap_delta: u64,
    spent_percent: f64,
    /// For rho, at the conversion's share of delta of the release in force.
    epsilon: Option<f64>,
    blocked: bool,
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    /// The release's name, or the digest of a plan that is no longer in force.
    release: String,
    windows_released: u64,
    windows_that_count: u32,
    cost_loss: u64,
    cost_delta: u64,
}

/// What the ledger holds of charges and of blocked periods.
#[derive(Default)]
struct SpentBefore {
    lines: Vec<audit::BudgetLine>,
    /// Dataset and begin of the period, in microseconds.
    blocked: Vec<(String, i64)>,
}

async fn spent(config: &Config) -> Result<SpentBefore, Exit> {
    let failed = |error: String| {
        eprint(format!("couldn't read the ledger: {error}"));
        Exit::Usage
    };
    let url = config.ledger.url().map_err(|e| failed(e.to_string()))?;
    let reader = audit::Reader::open(&url).await.map_err(|e| failed(e.to_string()))?;
    let lines = reader.budget(None).await;
    let blocked = reader.blocked(None).await;
    reader.close().await;
    let lines = lines.map_err(|e| failed(e.to_string()))?;
    let blocked = blocked.map_err(|e| failed(e.to_string()))?;
    Ok(SpentBefore { lines, blocked })
}

/// A period that an operator blocked.
#[derive(Serialize)]
struct Blocked {
    dataset: String,
    begins: String,
    /// Whether it had been blocked before; then nothing was written.
    already: bool,
}

impl Blocked {
    fn print(&self) {
        let Self { dataset, begins, already } = self;
        let how = if *already { "was already blocked" } else { "is now BLOCKED" };
        print(format!("{dataset}, period from {begins}: {how}"));
    }
}

async fn block(
    config: &Config,
    plans: &[std::sync::Arc<ReleasePlan>],
    dataset: &str,
    periods: &[String],
    because: &str,
) -> Result<Vec<Blocked>, Exit> {
    let before = spent(config).await?;
    let now_ms = SystemClock.now_ms().0;
    let mut wanted = BTreeSet::new();
    for period in periods {
        let begins = begins_us(plans, &before, dataset, period, now_ms).map_err(|error| {
            eprint(error);
            Exit::Usage
        })?;
        wanted.extend(begins);
    }
    let failed = |error: String| {
        eprint(format!("couldn't block the period: {error}"));
        Exit::CheckFailed
    };
    let account = Account::beside(config, &Ambient::system()).await.map_err(failed)?;
    let mut blocked = Vec::new();
    for period_us in wanted {
        let already = before.blocked.contains(&(dataset.to_owned(), period_us));
        if !already {
            let done = account.block_by_hand(dataset, period_us, because).await;
            done.map_err(|e| failed(e.to_string()))?;
        }
        let begins = utc(period_us.div_euclid(1_000));
        blocked.push(Blocked { dataset: dataset.to_owned(), begins, already });
    }
    account.close().await;
    Ok(blocked)
}

async fn begin_witness(config: &Config, because: &str) -> Result<(), Exit> {
    let failed = |error: String| {
        eprint(format!("couldn't begin the witness: {error}"));
        Exit::CheckFailed
    };
    let ambient = Ambient::system();
    let account = Account::beside(config, &ambient).await.map_err(failed)?;
    let account = std::sync::Arc::new(account);
    let begun = Witness::new(config, ambient.clock).begin(&account, because).await;
    account.close().await;
    begun.map_err(|error| failed(error.to_string()))
}

async fn draw_older(
    config: &Config,
    plans: &[std::sync::Arc<ReleasePlan>],
    dataset: &str,
    because: &str,
) -> Result<i64, Exit> {
    if !plans.iter().any(|plan| &*plan.dataset == dataset) {
        let names: BTreeSet<&str> = plans.iter().map(|plan| &*plan.dataset).collect();
        let names = names.into_iter().collect::<Vec<_>>().join("`, `");
        eprint(format!(
            "no release is made from a dataset `{dataset}`\n  help: there are `{names}`"
        ));
        return Err(Exit::Usage);
    }
    let failed = |error: String| {
        eprint(format!("couldn't ask for older windows: {error}"));
        Exit::CheckFailed
    };
    let account = Account::beside(config, &Ambient::system()).await.map_err(failed)?;
    let account = std::sync::Arc::new(account);
    let until_us = SystemClock.now_us();
    let asked = witness::ask_for_older(&account, dataset, until_us, because).await;
    account.close().await;
    asked.map(|()| until_us).map_err(|error| failed(error.to_string()))
}

/// The begin of a period that a dataset has or had, in microseconds; for `current`, of each period
/// that holds this moment.
fn begins_us(
    plans: &[std::sync::Arc<ReleasePlan>],
    before: &SpentBefore,
    dataset: &str,
    period: &str,
    now_ms: i64,
) -> Result<BTreeSet<i64>, String> {
    let ours: Vec<&ReleasePlan> =
        plans.iter().map(|plan| &**plan).filter(|plan| &*plan.dataset == dataset).collect();
    let charged = before.lines.iter().map(|line| (&*line.account, line.period_us));
    let blocked = before.blocked.iter().map(|(account, period_us)| (&**account, *period_us));
    let known: BTreeSet<(&str, i64)> = charged.chain(blocked).collect();
    if ours.is_empty() && !known.iter().any(|(account, _)| *account == dataset) {
        let names = plans.iter().map(|plan| &*plan.dataset).chain(known.iter().map(|(a, _)| *a));
        let names: BTreeSet<&str> = names.collect();
        let names = names.into_iter().collect::<Vec<_>>().join("`, `");
        return Err(format!(
            "no release is made from a dataset `{dataset}`\n  help: there are `{names}`"
        ));
    }
    let holding = |ms: i64| ours.iter().map(move |plan| plan.period_of(ms).start_ms * 1_000);
    if period == "current" {
        let current: BTreeSet<i64> = holding(now_ms).collect();
        let none = "the dataset has no release in force, so it has no current period: give the start of a period";
        return if current.is_empty() { Err(none.to_owned()) } else { Ok(current) };
    }
    let moment: jiff::Timestamp = period.parse().map_err(|_| {
        format!("`{period}` is not a valid time: give the start of a period, such as 2026-11-30T00:00:00Z")
    })?;
    let us = moment.as_microsecond();
    if known.contains(&(dataset, us)) || holding(moment.as_millisecond()).any(|start| start == us) {
        return Ok(BTreeSet::from([us]));
    }
    let begins = holding(moment.as_millisecond()).map(|start| utc(start.div_euclid(1_000)));
    let begins = begins.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("`, `");
    Err(match begins.is_empty() {
        true => format!("no period of `{dataset}` begins at `{period}`: `budget show` lists them"),
        false => format!(
            "no period of `{dataset}` begins at `{period}`\n  help: the period that contains this \
             time begins at `{begins}`"
        ),
    })
}

async fn show(
    config: &Config,
    dataset: Option<&str>,
    plans: &[std::sync::Arc<ReleasePlan>],
) -> Result<Vec<Period>, Exit> {
    let SpentBefore { mut lines, mut blocked } = spent(config).await?;
    lines.retain(|line| dataset.is_none_or(|dataset| line.account == dataset));
    blocked.retain(|(account, _)| dataset.is_none_or(|dataset| account == dataset));
    let mut periods: BTreeMap<(String, i64), Vec<audit::BudgetLine>> = BTreeMap::new();
    for key in &blocked {
        periods.entry(key.clone()).or_default();
    }
    for line in lines {
        periods.entry((line.account.clone(), line.period_us)).or_default().push(line);
    }
    let period = |((account, period_us), lines): ((String, i64), Vec<audit::BudgetLine>)| {
        let blocked = blocked.contains(&(account.clone(), period_us));
        Period::of(account, period_us, &lines, blocked, plans)
    };
    Ok(periods.into_iter().map(period).collect())
}

impl Period {
    fn of(
        dataset: String,
        period_us: i64,
        lines: &[audit::BudgetLine],
        blocked: bool,
        plans: &[std::sync::Arc<ReleasePlan>],
    ) -> Self {
        let spent = audit::Spent::of(lines);
        let plan = plans.iter().find(|plan| *plan.dataset == *dataset);
        let audit::Cost { loss: cap_loss, delta: cap_delta } =
            audit::cap_of(lines).unwrap_or_default();
        let unit = lines.first().map_or("", |line| line.unit.word());
        let loss = u64::try_from(spent.loss).unwrap_or(u64::MAX);
        let epsilon_nano = match plan.map(|plan| plan.accounting) {
            Some(Accounting::Zcdp) => {
                plan.map(|plan| rho_to_epsilon(loss, conversion_delta_atto(plan)))
            }
            Some(Accounting::Pure) => Some(loss),
            None => None,
        };
        let line = |line: &audit::BudgetLine| {
            let name = plans.iter().find(|plan| plan.digest == line.line);
            let [a, b, c, d, ..] = line.line;
            Line {
                release: name.map_or_else(
                    || format!("a plan no longer in force ({a:02x}{b:02x}{c:02x}{d:02x}…)"),
                    |plan| plan.name.to_string(),
                ),
                windows_released: line.charges,
                windows_that_count: line.uses_max,
                cost_loss: line.cost.loss,
                cost_delta: line.cost.delta,
            }
        };
        Self {
            dataset,
            begins: utc(period_us.div_euclid(1_000)),
            unit,
            spent_loss: spent.loss.to_string(),
            spent_delta: spent.delta.to_string(),
            cap_loss,
            cap_delta,
            spent_percent: percent(loss, cap_loss),
            epsilon: epsilon_nano.map(nano),
            blocked,
            lines: lines.iter().map(line).collect(),
        }
    }

    fn print(&self) {
        let Self { dataset, begins, spent_percent, cap_loss, unit, .. } = self;
        print(format!("{dataset}, period from {begins}"));
        if self.blocked {
            print("  BLOCKED: nothing more is released in this period");
        }
        let epsilon = self.epsilon.map_or(String::new(), |e| format!(", epsilon {e:.4}"));
        print(format!(
            "  one person may have spent {} of {cap_loss} {unit} ({spent_percent:.1} %){epsilon}",
            self.spent_loss
        ));
        for line in &self.lines {
            print(format!(
                "  {}: {} windows released at {} each; at most {} of them can count one person",
                line.release, line.windows_released, line.cost_loss, line.windows_that_count
            ));
        }
    }
}

/// What one release will cost.
#[derive(Serialize)]
struct Forecast {
    release: String,
    dataset: String,
    unit: &'static str,
    period_begins: String,
    windows_in_a_period: u64,
    windows_that_count: u32,
    window_loss: u64,
    period_loss: u64,
    cap_loss: u64,
    period_percent: f64,
    period_epsilon: f64,
    thirty_days_epsilon: f64,
    /// Whether the current period is blocked: nothing more is released in it.
    blocked: bool,
    /// Whether windows will be refused before the current period ends.
    refused: bool,
}

impl Forecast {
    /// `plans`: all that are in force.
    fn of(
        plan: &ReleasePlan,
        plans: &[std::sync::Arc<ReleasePlan>],
        before: &SpentBefore,
        now_ms: i64,
    ) -> Self {
        let period_ms = plan.period().longest_ms();
        let panes = period_ms.div_euclid(plan.schedule.pane.longest_ms().max(1));
        let period_loss = period_loss_of(plan);
        let epsilon = |loss: u64| match plan.accounting {
            Accounting::Zcdp => nano(rho_to_epsilon(loss, conversion_delta_atto(plan))),
            Accounting::Pure => nano(loss),
        };
        let period_epsilon = epsilon(period_loss);
        let begins_us = plan.period_of(now_ms).start_ms.saturating_mul(1_000);
        let blocked = before.blocked.contains(&(plan.dataset.to_string(), begins_us));
        // Plans that are no longer in force have spent of the same budget.
        let retired = before.lines.iter().filter(|line| {
            *line.account == *plan.dataset
                && line.period_us == begins_us
                && !plans.iter().any(|plan| plan.digest == line.line)
        });
        let of_dataset = plans.iter().filter(|other| other.dataset == plan.dataset);
        let to_come: u128 = of_dataset.map(|other| u128::from(period_loss_of(other))).sum();
        let in_all = audit::Spent::of(retired).loss.saturating_add(to_come);
        let periods = 30 * DAY_MS / period_ms.max(1);
        Self {
            release: plan.name.to_string(),
            dataset: plan.dataset.to_string(),
            unit: match plan.accounting {
                Accounting::Zcdp => "nano-rho",
                Accounting::Pure => "nano-epsilon",
            },
            period_begins: utc(plan.period_of(now_ms).start_ms),
            windows_in_a_period: u64::try_from(panes).unwrap_or(0)
                * u64::from(plan.releases_of_a_pane()),
            windows_that_count: plan.releases_of_a_period(),
            window_loss: plan.release_cost().loss,
            period_loss,
            cap_loss: plan.cap.loss,
            period_percent: percent(period_loss, plan.cap.loss),
            period_epsilon,
            thirty_days_epsilon: period_epsilon * f64::from(i32::try_from(periods).unwrap_or(1)),
            blocked,
            refused: blocked || in_all > u128::from(plan.cap.loss),
        }
    }

    fn print(&self) {
        print(format!("{} (of {})", self.release, self.dataset));
        print(format!(
            "  a window costs {} {}; {} windows per period, of which {} can count one person",
            self.window_loss, self.unit, self.windows_in_a_period, self.windows_that_count
        ));
        print(format!(
            "  a period costs one person {} of {} ({:.1} %), epsilon {:.4}; 30 days: epsilon {:.2}",
            self.period_loss,
            self.cap_loss,
            self.period_percent,
            self.period_epsilon,
            self.thirty_days_epsilon
        ));
        print(match (self.blocked, self.refused) {
            (true, _) => {
                "  the current period is BLOCKED: all its windows are REFUSED until it ends"
            }
            (false, true) => "  windows will be REFUSED before the current period ends",
            (false, false) => {
                "  no window of the current period will be refused because of its cost"
            }
        });
    }
}

/// What all windows of a period can cost one person.
fn period_loss_of(plan: &ReleasePlan) -> u64 {
    plan.cost.loss.saturating_mul(u64::from(plan.panes_charged()))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn nano(value: u64) -> f64 {
    value as f64 * 1e-9
}
