//! Stores to try a ledger on, what to write into it, and how to harm it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use sluicegate_audit::{
    Actor, At, AuthFailure, Claim, Clock, Copied, Digest16, Digest32, Entry, Exported, Fate,
    FieldTransform, Intent, KeyUse, Leaf, Ledger, Options, Outcome, Placement, Position, Present,
    Row, SearchDigest, SearchKey, Standing, Time, Treatment, Url, WriterId, detail_digest,
};
use sqlx::{Executor, PgPool, SqlitePool, sqlite::SqliteConnectOptions};

/// The variable that names a PostgreSQL server to test on.
const POSTGRES: &str = "SLUICEGATE_TEST_POSTGRES";

/// A clock that advances a millisecond each time it is read.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Time {
        let us = self.0.fetch_add(1_000, Ordering::SeqCst);
        Time { us, err_us: 500, source: "test" }
    }
}

/// Where the clock of most tests begins.
pub(crate) const NOW_US: i64 = 1_700_000_000_000_000;

/// Those of `node-a`.
pub(crate) fn options(writer: u8, now_us: i64, standing: Standing) -> Options {
    Options {
        origin: "test.example/ledger".into(),
        writer: WriterId([writer; 16]),
        node: "node-a".into(),
        software: "test 1".into(),
        clock: Arc::new(Ticking(AtomicI64::new(now_us))),
        search_key: search_key(1),
        standing,
        skew_max_us: i64::MAX,
    }
}

/// The n-th search key.
pub(crate) fn search_key(n: u8) -> SearchKey {
    SearchKey { name: format!("search-{n}"), check: [n; 16] }
}

/// A fresh store.
pub(crate) struct Bench {
    pub(crate) url: Url,
    admin: Admin,
    _files: Option<tempfile::TempDir>,
}

enum Admin {
    Sqlite(std::path::PathBuf),
    Postgres(PgPool),
}

/// Tries a promise on each store.
pub(crate) async fn each_store(promise: impl AsyncFn(Bench)) {
    promise(Bench::sqlite()).await;
    match std::env::var(POSTGRES) {
        Ok(server) => promise(Bench::postgres(&server).await).await,
        Err(_) => println!("left out: PostgreSQL, for {POSTGRES} is not set"),
    }
}

impl Bench {
    pub(crate) fn sqlite() -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("ledger.db");
        let url = format!("sqlite:{}", file.display()).parse().unwrap();
        Self { url, admin: Admin::Sqlite(file), _files: Some(files) }
    }

    async fn postgres(server: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("ledger_{}_{n}", std::process::id());
        let admin = PgPool::connect(server).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        admin.execute(create).await.unwrap();
        let (base, query) = server.split_once('?').unwrap_or((server, ""));
        let base = base.rsplit_once('/').unwrap().0;
        let url = format!("{base}/{name}?{query}");
        let pool = PgPool::connect(&url).await.unwrap();
        Self { url: url.parse().unwrap(), admin: Admin::Postgres(pool), _files: None }
    }

    pub(crate) async fn open(&self, writer: u8) -> Ledger {
        self.open_as(writer, "node-a").await
    }

    pub(crate) async fn open_as(&self, writer: u8, node: &str) -> Ledger {
        let options = Options { node: node.into(), ..options(writer, NOW_US, Standing::Beside) };
        Ledger::open(&self.url, options).await.unwrap()
    }

    /// Statements that would change the past. None of them may work.
    pub(crate) fn attempts(&self) -> &'static [&'static str] {
        match self.admin {
            Admin::Sqlite(_) => &[
                "UPDATE ledger_row SET t_us = 0 WHERE wseq = 1",
                "DELETE FROM ledger_row WHERE wseq = 1",
                "INSERT OR REPLACE INTO ledger_row SELECT * FROM ledger_row WHERE wseq = 2",
                "INSERT OR REPLACE INTO ledger_row (rowid, writer, wseq, t_us, segment, bytes, prev, link) \
                 SELECT 2, writer, wseq + 1, t_us, segment, bytes, link, link FROM ledger_row \
                 ORDER BY wseq DESC LIMIT 1",
                "INSERT INTO ledger_row SELECT writer, wseq + 7, t_us, segment, bytes, prev, link \
                 FROM ledger_row WHERE wseq = 2",
                "INSERT INTO ledger_row SELECT writer, wseq + 1, t_us, segment, bytes, prev, link \
                 FROM ledger_row ORDER BY wseq DESC LIMIT 1",
            ],
            Admin::Postgres(_) => &[
                "UPDATE ledger_row SET t_us = 0 WHERE wseq = 1",
                "DELETE FROM ledger_row WHERE wseq = 1",
                "TRUNCATE ledger_row",
                "SET session_replication_role = replica; DELETE FROM ledger_row",
                "INSERT INTO ledger_row SELECT * FROM ledger_row WHERE wseq = 2 \
                 ON CONFLICT (writer, wseq) DO UPDATE SET t_us = 0",
                "INSERT INTO ledger_row SELECT writer, wseq + 7, t_us, segment, bytes, prev, link \
                 FROM ledger_row WHERE wseq = 2",
                "INSERT INTO ledger_row SELECT writer, wseq + 1, t_us, segment, bytes, prev, link \
                 FROM ledger_row WHERE wseq = (SELECT max(wseq) FROM ledger_row)",
            ],
        }
    }

    /// Runs statements as the owner of the store.
    pub(crate) async fn try_sql(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        match &self.admin {
            Admin::Sqlite(file) => {
                let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(file));
                let pool = pool.await?;
                let done = pool.execute(sql).await;
                pool.close().await;
                done.map(|_| ())
            }
            Admin::Postgres(pool) => {
                let mut connection = pool.acquire().await?.detach();
                connection.execute(sqlx::raw_sql(sql)).await.map(|_| ())
            }
        }
    }

    /// Takes the triggers away that keep rows and charges, as an owner can.
    pub(crate) async fn unlock(&self) {
        let sql = match self.admin {
            Admin::Sqlite(_) => {
                "DROP TRIGGER ledger_row_stays; DROP TRIGGER ledger_row_remains; \
                 DROP TRIGGER ledger_charge_remains"
            }
            Admin::Postgres(_) => {
                "ALTER TABLE ledger_row DISABLE TRIGGER USER; \
                 ALTER TABLE ledger_charge DISABLE TRIGGER USER"
            }
        };
        self.try_sql(sql).await.unwrap();
    }

    /// Removes all rows, and leaves the triggers as they were.
    pub(crate) async fn empty(&self) {
        let sql = match self.admin {
            Admin::Sqlite(_) => "DROP TRIGGER ledger_row_remains; DELETE FROM ledger_row",
            Admin::Postgres(_) => {
                "ALTER TABLE ledger_row DISABLE TRIGGER ledger_row_stays; DELETE FROM ledger_row; \
                 ALTER TABLE ledger_row ENABLE ALWAYS TRIGGER ledger_row_stays"
            }
        };
        self.try_sql(sql).await.unwrap();
    }

    /// The file and its log.
    pub(crate) fn files(&self) -> [std::path::PathBuf; 2] {
        match &self.admin {
            Admin::Sqlite(file) => [file.clone(), file.with_extension("db-wal")],
            Admin::Postgres(_) => Default::default(),
        }
    }

    /// Writes the next row of a chain as another process would that has the same writer id.
    pub(crate) async fn steal_next_row(&self, _writer: u8) {
        let sql = "INSERT INTO ledger_row (writer, wseq, t_us, segment, bytes, prev, link) \
                   SELECT writer, wseq + 1, t_us, segment, bytes, link, link FROM ledger_row \
                   ORDER BY wseq DESC LIMIT 1";
        self.try_sql(sql).await.unwrap();
    }

    /// Makes every commit fail until it is mended.
    pub(crate) async fn break_store(&self) {
        self.try_sql("ALTER TABLE ledger_row RENAME TO ledger_row_away").await.unwrap();
    }

    pub(crate) async fn mend_store(&self) {
        self.try_sql("ALTER TABLE ledger_row_away RENAME TO ledger_row").await.unwrap();
    }
}

/// A closed ledger with some intents of three records each.
pub(crate) async fn sqlite_ledger(intents: u32) -> Url {
    let bench = Bench::sqlite();
    let ledger = bench.open(1).await;
    for n in 0..intents {
        let (digest, bytes) = treatment("eu");
        let events = (0..3).map(|i| delivered(i, &n.to_be_bytes(), b"t")).collect::<Vec<_>>();
        ledger
            .intend(intent(digest, 3), events, vec![(digest, bytes)], vec![], None)
            .await
            .unwrap();
    }
    ledger.close().await.unwrap();
    // The folder goes with the process.
    std::mem::forget(bench._files);
    bench.url
}

pub(crate) fn digest(value: &[u8]) -> SearchDigest {
    let hash = blake3::keyed_hash(&[7; 32], value);
    hash.as_bytes()[..16].try_into().unwrap()
}

pub(crate) fn leaf(seq: u32, fate: Fate) -> Leaf {
    Leaf { seq, fate, source: vec![], tokens: vec![], count: 1 }
}

/// A copy under a treatment of one field, which the record had.
pub(crate) fn copied(treatment: u32) -> Copied {
    Copied { treatment, present: Present::of([true]) }
}

pub(crate) fn delivered(seq: u32, source: &[u8], token: &[u8]) -> Leaf {
    let (source, tokens) = (vec![Digest16(digest(source))], vec![Digest16(digest(token))]);
    Leaf { source, tokens, ..leaf(seq, Fate::Deliver(vec![copied(0)])) }
}

/// Records of one fate, of which so many had the field.
pub(crate) fn run(seq: u32, count: u32, present: u32) -> Leaf {
    let copy = Copied { treatment: 0, present: Present::Counts(vec![present]) };
    Leaf { count, ..leaf(seq, Fate::Deliver(vec![copy])) }
}

pub(crate) fn treatment(region: &str) -> ([u8; 32], Vec<u8>) {
    treatment_to(region, None)
}

pub(crate) fn treatment_to(region: &str, topic: Option<&str>) -> ([u8; 32], Vec<u8>) {
    detail_digest(&Treatment {
        region: region.into(),
        jurisdiction: "DE".into(),
        rules: vec!["orders-to-eu".into()],
        transforms: vec![FieldTransform {
            field: "$.email".into(),
            category: "contact".into(),
            transform: "tokenize".into(),
            rules: vec!["hide-contact".into()],
        }],
        keys: vec![KeyUse {
            key: "k1".into(),
            domain: "person".into(),
            scope: "eu".into(),
            epoch: 3,
        }],
        transfer: vec![],
        withheld: vec![],
        topic: topic.map(str::to_owned),
    })
}

/// Of leaves that are one record each.
pub(crate) fn intent(treatment: [u8; 32], leaves: u32) -> Intent {
    Intent {
        request: [5; 16],
        actor: Actor { id: "till-7".into(), by: "mtls".into() },
        origin: digest(b"192.0.2.1"),
        purpose: "fulfilment".into(),
        dataset: "orders".into(),
        topic: "shop.orders".into(),
        policy: [9; 32],
        rules: vec!["tills-publish".into()],
        treatments: vec![Digest32(treatment)],
        first_leaf: 0,
        leaves,
        records: leaves,
        batch: vec![],
    }
}

pub(crate) fn outcome(of: Position, region: &str, at: &[(i64, u32)]) -> Outcome {
    let at = at.iter().map(|(offset, leaf)| At::one(*offset, *leaf)).collect();
    let topic = "shop.orders".into();
    let placed = vec![Placement { region: region.into(), topic, partition: 3, at }];
    Outcome { of, placed, missing: vec![], repeat_of: vec![], complete: true }
}

pub(crate) fn claim(key: u8) -> Claim {
    Claim { key: [key; 32], fingerprint: [1; 32], at_us: 0, expires_us: i64::MAX }
}

pub(crate) fn auth_failure(code: &str) -> Entry {
    Entry::AuthFailure(AuthFailure { code: code.into(), origin: [0; 16] })
}

/// The codes of failed logins in a row.
pub(crate) fn auth_codes(exported: &Exported) -> Vec<String> {
    let Exported::Row { bytes, .. } = exported else { return vec![] };
    let row = Row::decode(bytes).unwrap();
    let code = |entry: Entry| match entry {
        Entry::AuthFailure(failure) => Some(failure.code),
        _ => None,
    };
    row.entries.into_iter().filter_map(code).collect()
}
