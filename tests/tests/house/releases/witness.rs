//! What was published is not published again with fresh noise, whichever of the stores are put back from an
//! older copy; except all of them together, which nobody can see from inside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::Value;
use sluicegate_audit::Entry;
use sluicegate_tests::{
    ca::replace,
    dice::Dice,
    gateway::{self, CONFIG, Gateway},
    kafka::fresh_name,
    postgres::Database,
    process::{Signal, eventually},
    releases::{Spec, now_ms, policies, read},
    require,
};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions,
};

use super::{
    publisher::{Publisher, stream as stream_of},
    restore::{Files, database, put_back},
    setup::{House, Pipeline, Store},
};

const WITHIN: Duration = Duration::from_secs(60);
const RUNS_SIDE_BY_SIDE: usize = 4;

/// A store, and what becomes of it while the gateway is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Stays,
    Older,
    Lost,
}
use Of::{Lost, Older, Stays};

#[derive(Clone, Copy, Debug)]
struct Case {
    ledger: Of,
    region: Of,
    witness: Of,
    by: By,
    /// Why charges are in doubt, if they are.
    doubt: Option<&'static str>,
    blocked: bool,
    /// Whether a window is published again that was published before.
    again: bool,
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Nobody,
    /// `budget block` before the start.
    Block,
    /// `run --restored`.
    Flag,
}

#[rustfmt::skip]
const CASES: [Case; 10] = [
    case(Older, Stays, Stays, By::Nobody, Some("ledger-behind-witness"), true, false),
    case(Stays, Older, Stays, By::Nobody, None, true, false),
    case(Older, Older, Stays, By::Nobody, Some("ledger-behind-witness"), true, false),
    // Nothing inside remembers: this is what the threat model says. It also shows that the test can see it.
    case(Older, Older, Older, By::Nobody, None, false, true),
    case(Older, Older, Older, By::Block, None, true, false),
    case(Older, Older, Older, By::Flag, Some("restored"), true, false),
    case(Stays, Stays, Lost, By::Nobody, Some("witness-missing"), true, false),
    case(Older, Older, Lost, By::Nobody, Some("witness-missing"), true, false),
    // The ledger is ahead.
    case(Stays, Stays, Older, By::Nobody, None, false, false),
    case(Stays, Stays, Stays, By::Nobody, None, false, false),
];

const fn case(
    ledger: Of,
    region: Of,
    witness: Of,
    by: By,
    doubt: Option<&'static str>,
    blocked: bool,
    again: bool,
) -> Case {
    Case { ledger, region, witness, by, doubt, blocked, again }
}

/// The three stores of a house on one machine, at one time.
struct Copy {
    ledger: Files,
    region: Files,
    witness: (PathBuf, Vec<u8>),
}

impl Copy {
    fn of(house: &House) -> Self {
        let witness = house.witness(0);
        Self {
            ledger: database(&house.ledger_file()),
            region: database(&house.topics_file()),
            witness: (witness.clone(), fs::read(witness).unwrap()),
        }
    }

    fn put_back(&self, case: Case) {
        if case.ledger == Older {
            put_back(&self.ledger);
        }
        if case.region == Older {
            put_back(&self.region);
        }
        match case.witness {
            Stays => {}
            Older => fs::write(&self.witness.0, &self.witness.1).unwrap(),
            Lost => fs::remove_file(&self.witness.0).unwrap(),
        }
    }
}

/// What the ledger says of doubt: the causes, and how many periods are blocked.
async fn doubts(house: &House) -> (Vec<String>, usize) {
    let (entries, diverges) = house.entries().await;
    assert_eq!(diverges, None);
    let cause = |entry: &Entry| match entry {
        Entry::Admin(admin) if admin.action == "budget.doubt" => {
            admin.about.split(' ').next().map(str::to_owned)
        }
        _ => None,
    };
    let blocked = entries.iter().filter(|entry| matches!(entry, Entry::BudgetBlocked(_)));
    (entries.iter().filter_map(cause).collect(), blocked.count())
}

/// Waits until the pane that starts at a time, or a later one, is released or refused.
async fn decided(house: &House, spec: &Spec, gateway: &Gateway, from_ms: i64) {
    let seen = eventually(WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let refused = |entry: &Entry| {
            matches!(entry, Entry::ReleaseRefused(refused)
                if refused.name == spec.release && refused.window_start_us / 1_000 >= from_ms)
        };
        let released = house.released(spec).await;
        let is_published = released.iter().any(|(_, start_ms, done)| *done && *start_ms >= from_ms);
        (is_published || house.entries().await.0.iter().any(refused)).then_some(())
    });
    assert!(seen.await.is_some(), "nothing is decided: {}", gateway.stderr());
}

/// Publishes windows and stops.
async fn publish(house: &House, spec: &Spec, tag: &str) {
    let gateway = house.start(0).await;
    publish_through(house, spec, &gateway, tag).await;
    assert_eq!(gateway.stop().await, Some(0));
}

/// Publishes windows, one of them with records.
async fn publish_through(house: &House, spec: &Spec, gateway: &Gateway, tag: &str) {
    let next = spec.pane(now_ms()) + 2 * spec.pane_ms;
    let records = stream_of(spec, &mut Dice(11), tag, &[next], &[]);
    let mut publisher = Publisher::of(house.client("app"), gateway.url(""));
    publisher.name = tag.to_owned();
    publisher.send_all(spec, &records).await;
    assert!(house.published(spec, next, WITHIN).await, "{}", gateway.stderr());
}

async fn start(house: &House, by: By) -> Gateway {
    match by {
        By::Flag => house.start_restored(0).await,
        _ => house.start(0).await,
    }
}

/// The panes that are in a topic, each with the rows of the ledger in which its bytes became durable.
type Published = BTreeMap<i64, BTreeSet<String>>;

async fn published(house: &House, spec: &Spec) -> Published {
    let mut published = Published::new();
    for message in house.topic(&spec.release).await {
        let pane = read(spec, &message.value).unwrap().pane.0;
        // Writer and row; the rest is the message's number.
        published.entry(pane).or_default().insert(message.position.get(..48).unwrap().to_owned());
    }
    published
}

/// Whether a pane that was seen has been drawn anew since. What is published again as it was stored has the
/// row that it had.
fn is_drawn_again(seen: &Published, now: &Published) -> bool {
    let drawn = |(pane, rows): (&i64, &BTreeSet<String>)| {
        seen.get(pane).is_some_and(|before| !rows.is_subset(before))
    };
    now.iter().any(drawn)
}

async fn restored(case: Case) -> Vec<String> {
    let spec = Spec::counting(&fresh_name("restored"));
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let mut gateway = house.start(0).await;
    publish_through(&house, &spec, &gateway, "one").await;
    // Of one moment in the life of a gateway, as the snapshot of a machine is.
    gateway.signal(Signal::Stop);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let copy = Copy::of(&house);
    gateway.signal(Signal::Cont);
    publish_through(&house, &spec, &gateway, "two").await;
    assert_eq!(gateway.stop().await, Some(0));
    let seen = published(&house, &spec).await;
    copy.put_back(case);
    if case.by == By::Block {
        let block =
            ["budget", "block", &spec.dataset(), "--period", "current", "--because", "test"];
        let (code, said) = house.verb(&block);
        assert_eq!(code, Some(0), "{said}");
    }

    let gateway = start(&house, case.by).await;
    decided(&house, &spec, &gateway, spec.pane(now_ms())).await;
    assert_eq!(gateway.stop().await, Some(0));
    let now = published(&house, &spec).await;
    let (causes, blocked) = doubts(&house).await;
    // Once more, now that it is known.
    let gateway = house.start(0).await;
    decided(&house, &spec, &gateway, spec.pane(now_ms())).await;
    assert_eq!(gateway.stop().await, Some(0));
    let later = published(&house, &spec).await;

    let mut wrong = Vec::new();
    let mut check = |what: &str, is: bool, should: bool| {
        if is != should {
            wrong.push(format!("{case:?}: {what}: {is}; {now:?} after {seen:?}, {causes:?}"));
        }
    };
    check("published again", is_drawn_again(&seen, &now), case.again);
    check("published again by the next start", is_drawn_again(&seen, &later), case.again);
    check("blocked", blocked > 0, case.blocked);
    check("goes on", later.keys().any(|pane| !seen.contains_key(pane)), !case.blocked);
    check("in doubt", causes.first().map(String::as_str) == case.doubt, true);
    check("said once", causes.len() == usize::from(case.doubt.is_some()), true);
    check("said once by two starts", doubts(&house).await.0 == causes, true);
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_combination_of_stores_that_are_put_back() {
    let runs = stream::iter(CASES).map(restored).buffer_unordered(RUNS_SIDE_BY_SIDE);
    let wrong: Vec<String> = runs.collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a copy that was made before a release does not have of it.
const THE_RELEASE: [&str; 4] = [
    "DROP TRIGGER ledger_row_remains",
    "DELETE FROM ledger_row WHERE (writer, wseq) IN (SELECT r.writer, r.wseq FROM ledger_row r
     JOIN ledger_release l ON r.writer = l.writer AND r.wseq >= l.wseq)",
    "DELETE FROM ledger_release",
    "DELETE FROM ledger_blob",
];

/// A copy that was made between a window's reservation and its release has the charge and not the release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_from_the_middle_of_a_release_is_behind_too() {
    let spec = Spec::counting("middle");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let nothing = database(&house.topics_file());
    // One run, in which nothing else is reserved.
    let mut gateway = house.start_to_crash(0, Some("after-produce")).await;
    assert!(gateway.ends(WITHIN).await.is_some(), "{}", gateway.stderr());
    assert_eq!((house.charged(&spec).await.len(), published(&house, &spec).await.len()), (1, 1));
    put_back(&nothing);
    for sql in THE_RELEASE {
        edit_ledger(&house, sql).await;
    }
    assert!(house.released(&spec).await.is_empty());

    let gateway = house.start(0).await;
    decided(&house, &spec, &gateway, spec.pane(now_ms())).await;
    assert_eq!(gateway.stop().await, Some(0));
    let (causes, blocked) = doubts(&house).await;
    assert_eq!((causes, blocked), (vec!["ledger-behind-witness".to_owned()], 1));
    assert!(published(&house, &spec).await.is_empty());
}

/// A copy that was made just before a charge has every row that the witness names, and not the charge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_from_just_before_a_charge_is_behind_too() {
    let spec = Spec::counting("charge");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    let mut gateway = house.start_to_crash(0, Some("before-sample")).await;
    assert!(gateway.ends(WITHIN).await.is_some(), "{}", gateway.stderr());
    // The charge is witnessed before noise is drawn.
    assert_eq!((witnessed(&house), house.charged(&spec).await.len()), (1, 1));
    edit_ledger(&house, "DROP TRIGGER ledger_charge_remains").await;
    assert_eq!(edit_ledger(&house, "DELETE FROM ledger_charge").await, 1);

    let gateway = house.start(0).await;
    decided(&house, &spec, &gateway, spec.pane(now_ms())).await;
    assert_eq!(gateway.stop().await, Some(0));
    let (causes, blocked) = doubts(&house).await;
    assert_eq!((causes, blocked), (vec!["ledger-behind-witness".to_owned()], 1));
    assert!(published(&house, &spec).await.is_empty());
}

/// How many rows it changed.
async fn edit_ledger(house: &House, sql: &'static str) -> u64 {
    let options = SqliteConnectOptions::new().filename(house.ledger_file());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}

/// What the witness of the first gateway says that was charged.
fn witnessed(house: &House) -> u64 {
    let text = fs::read_to_string(house.witness(0)).unwrap();
    let record: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    let charges = record["charges"].as_array().unwrap().iter();
    charges.map(|line| line["charges"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_put_back_is_behind() {
    let server = require!(postgres);
    let spec = Spec::counting("behind");
    let url = Database::fresh(&server).await.url;
    let mut house = House::new(Store::Postgres(url.clone()), Pipeline::Embedded, &[&spec]);
    publish(&house, &spec, "one").await;
    let copy = format!("{url}_copy");
    let name = |url: &str| url.rsplit_once('/').unwrap().1.to_owned();
    let mut connection = PgConnection::connect(&server).await.unwrap();
    // The names are ours: letters, digits and underscores.
    let text = format!("CREATE DATABASE {} TEMPLATE {}", name(&copy), name(&url));
    sqlx::query(AssertSqlSafe(text)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let region = database(&house.topics_file());
    publish(&house, &spec, "two").await;
    let seen = published(&house, &spec).await;

    put_back(&region);
    replace(&house.node(0).join("ledger.url"), &copy);
    house.store = Store::Postgres(copy);
    let gateway = house.start(0).await;
    decided(&house, &spec, &gateway, spec.pane(now_ms())).await;
    assert_eq!(gateway.stop().await, Some(0));
    let (causes, blocked) = doubts(&house).await;
    assert_eq!((causes, blocked), (vec!["ledger-behind-witness".to_owned()], 1));
    assert!(!is_drawn_again(&seen, &published(&house, &spec).await));
    house.end().await;
}

/// A period that is over: its windows are refused, unless an operator asks for them. The period of the start
/// is blocked in either case, and the next one is like any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_windows_are_drawn_only_if_asked() {
    for asked in [false, true] {
        let spec = Spec::counting(&fresh_name("older"));
        let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
        let text = policies(&[&spec]);
        house.write_policies(0, &text.replace("period: 24h", "period: 4s"));
        publish(&house, &spec, "one").await;
        let period = |ms: i64| ms.div_euclid(4_000);
        let last = house.released(&spec).await.iter().map(|(_, start_ms, _)| *start_ms).max();
        let last = last.unwrap();
        // A whole period passes.
        tokio::time::sleep(Duration::from_secs(9)).await;
        let ask = |dataset: &str| {
            house.verb(&["budget", "draw-older", dataset, "--because", "nothing was lost"])
        };
        if asked {
            assert_eq!(ask("nobody").0, Some(2));
            let (code, said) = ask(&spec.dataset());
            assert_eq!(code, Some(0), "{said}");
        }
        let asked_ms = now_ms();
        let gateway = house.start_restored(0).await;
        let ready_ms = now_ms();
        decided(&house, &spec, &gateway, (period(ready_ms) + 1) * 4_000).await;
        assert_eq!(gateway.stop().await, Some(0));

        let released: BTreeSet<i64> =
            house.released(&spec).await.into_iter().map(|(_, start_ms, _)| start_ms).collect();
        let of = |periods: std::ops::Range<i64>| {
            released
                .iter()
                .filter(|start_ms| **start_ms > last && periods.contains(&period(**start_ms)))
                .count()
        };
        let older = of(period(last)..period(asked_ms));
        assert_eq!(older > 0, asked, "{released:?} after {last}: {}", gateway_log(&house));
        // The start was in one of these.
        let current = period(asked_ms)..period(ready_ms) + 1;
        if current.end - current.start == 1 {
            assert_eq!(of(current), 0, "{released:?} after {last}");
        }
        assert!(of(period(ready_ms) + 1..i64::MAX) > 0, "{released:?}: {}", gateway_log(&house));
        let (entries, _) = house.entries().await;
        let recorded = entries.iter().any(|entry| {
            matches!(entry, Entry::Admin(admin) if admin.action == "budget.draw-older"
                && admin.about.ends_with(": nothing was lost"))
        });
        assert_eq!(recorded, asked);
    }
}

fn gateway_log(house: &House) -> String {
    fs::read_to_string(house.node(0).join("gateway.err")).unwrap_or_default()
}

/// A ledger from before there were witnesses: nothing is released and nothing is lost until an operator has
/// vouched for it. The same for a witness that cannot be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_begins_on_an_operators_word() {
    let spec = Spec::counting("upgraded");
    let house = House::new(Store::Sqlite, Pipeline::Embedded, &[&spec]);
    publish(&house, &spec, "one").await;
    fs::remove_file(house.witness(0)).unwrap();
    let forget = "DELETE FROM ledger_register WHERE hex(about) LIKE '0109%'";
    assert_eq!(edit_ledger(&house, forget).await, 1);

    let waits = async |says: &str| {
        let gateway = house.start_unready(0).await;
        let client = house.client("operator");
        let told = eventually(WITHIN, async || {
            let answer = client.get(gateway.admin_url("/readyz")).send().await.ok()?;
            let text = answer.text().await.ok()?;
            (text.contains("witness: ") && text.contains(says)).then_some(())
        });
        assert!(told.await.is_some(), "{}", gateway.stderr());
        gateway
    };
    let gateway = waits("sluicegate budget witness").await;
    let begin = || house.verb(&["budget", "witness", "--because", "first start with one"]);
    let (code, said) = begin();
    assert_eq!(code, Some(0), "{said}");
    assert!(gateway.ready(&house.ca, WITHIN).await, "{}", gateway.stderr());
    let (code, said) = begin();
    assert!(code == Some(1) && said.contains("has a witness already"), "{said}");
    assert!(house.published(&spec, spec.pane(now_ms()), WITHIN).await, "{}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));
    assert_eq!(doubts(&house).await, (vec![], 0));

    let text = fs::read_to_string(house.witness(0)).unwrap();
    fs::write(house.witness(0), text.replace("\"row\":", "\"row\":1")).unwrap();
    let gateway = waits("damaged").await;
    fs::write(house.witness(0), text).unwrap();
    assert!(gateway.ready(&house.ca, WITHIN).await, "{}", gateway.stderr());
    assert_eq!(gateway.stop().await, Some(0));
    assert_eq!(doubts(&house).await, (vec![], 0));
}

/// A witness that would be put back with the ledger is a warning; elsewhere, and beside PostgreSQL, it is none.
#[test]
fn a_witness_on_the_ledgers_disk_is_a_warning() {
    let spec = Spec::counting("beside");
    let elsewhere = tempfile::Builder::new().prefix("sluicegate-witness").tempdir_in("/dev/shm");
    let postgres = Store::Postgres("postgres://nobody@127.0.0.1:1/none".to_owned());
    for (store, witness, code) in
        [(Store::Sqlite, None, 3), (Store::Sqlite, elsewhere.as_ref().ok(), 0), (postgres, None, 0)]
    {
        let house = House::new(store, Pipeline::Embedded, &[&spec]);
        let config = house.node(0).join(CONFIG);
        if let Some(folder) = witness {
            let text = fs::read_to_string(&config).unwrap();
            let folder = folder.path().join("witness");
            fs::write(&config, text.replace("../witness", folder.to_str().unwrap())).unwrap();
        }
        let done = gateway::run(&house.node(0), &["config", "check", CONFIG]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        // Where there is no other file system there is nothing to tell apart.
        if code == 3 || witness.is_some() || matches!(house.store, Store::Postgres(_)) {
            assert_eq!(done.status.code(), Some(code), "{said}");
            assert_eq!(said.contains("on the file system of the ledger"), code == 3, "{said}");
        }
    }
}
