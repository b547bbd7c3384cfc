//! Explains every SQL text of the store's modules, as they stand in the sources: a new one is
//! explained without being listed anywhere.

use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

const BOTH: [&str; 6] = [
    include_str!("../books.rs"),
    include_str!("../claims.rs"),
    include_str!("../index.rs"),
    include_str!("../register.rs"),
    include_str!("../rows.rs"),
    include_str!("../mod.rs"),
];

/// Queries that may read a table as a whole, or sort: a part of the text, what the plan may say in
/// either engine, and why.
const MAY: &[(&str, &[&str], &str)] = &[
    ("FROM json_each($1)", &["SCAN json_each"], "what is written"),
    (
        "FROM (SELECT 1 FROM ledger_intent LIMIT",
        &["SCAN ledger_intent", "SCAN open", "Seq Scan on ledger_intent"],
        "up to a limit, in any order",
    ),
    ("FROM pg_class", &["Seq Scan on pg_class"], "the tables of a database"),
    ("FROM pg_database", &["Seq Scan on pg_database"], "the databases of a server"),
    ("UPDATE ledger_lease SET until_us = 0", &["SCAN ledger_lease"], "all leases, once at a start"),
    ("INSERT INTO ledger_writer", &["SCAN earlier"], "one maximum"),
    ("WITH RECURSIVE w (writer)", &["SCAN w"], "the steps of the recursion"),
    (
        "WITH RECURSIVE m (writer)",
        &["SCAN m", "SCAN e", "SCAN w", "Seq Scan on ledger_writer w"],
        "the steps of the recursion; all writers, of which each start makes one",
    ),
    (
        "FROM ledger_intent i JOIN",
        &["SCAN i", "Seq Scan on ledger_intent", "Hash", "Index"],
        "open intents, at a start and every few seconds; ended ones are removed",
    ),
    (
        "count(*) FROM ledger_intent i JOIN",
        &["SCAN w", "Seq Scan on ledger_writer w"],
        "all writers, of which each start makes one, every few seconds",
    ),
    (
        "SELECT 1 FROM ledger_intent LIMIT",
        &["SCAN ledger_intent", "SCAN open", "Seq Scan on ledger_intent"],
        "counted up to a limit; ended ones are removed",
    ),
    ("pg_total_relation_size", &["Seq Scan on pg_class"], "the database's catalog of tables"),
    (
        "FROM ledger_release_lost l JOIN",
        &[
            "SCAN l",
            "Seq Scan on ledger_release_lost",
            "Sort",
            "Hash",
            "Merge",
            "USE TEMP B-TREE",
            "Index",
        ],
        "lost releases, once at a start; ended ones are removed",
    ),
    (
        "count(*) FROM ledger_charge GROUP BY",
        &["SCAN ledger_charge", "Seq Scan on ledger_charge"],
        "the budget of all accounts is asked for",
    ),
    ("FROM _sqlx_migrations", &["SCAN _sqlx", "Seq Scan", "Index Scan", "Sort"], "a handful"),
    (
        "FROM ledger_blocked ORDER BY",
        &["SCAN ledger_blocked", "Seq Scan on ledger_blocked", "Index Only Scan"],
        "the blocked periods of all accounts are asked for",
    ),
];

/// What else there is in a store in use, by number of entries; `{key}` is a key made of `i`.
const FILL: [(u32, &str); 11] = [
    (3_000, "ledger_writer SELECT {key}, 'node-' || (i % 300), i FROM n"),
    (20_000, "ledger_claim SELECT {key}, {key}, 'node-a', {key}, i, 0, i, i, NULL FROM n"),
    (
        20_000,
        "ledger_charge SELECT {key}, 'account-' || (i % 5), i / 50, {line}, 'nano-rho', 1, 1, 1, 9, 9 \
         FROM n",
    ),
    (5_000, "ledger_blocked SELECT 'account-' || (i % 5), i FROM n"),
    (
        20_000,
        "ledger_release SELECT {key}, 'name-' || (i % 5), i, i + 1, 0, {key}, i, 0, \
         CASE WHEN i % 100 = 0 THEN 0 ELSE 1 END FROM n",
    ),
    (20_000, "ledger_register SELECT {key}, {key} FROM n"),
    (20_000, "ledger_blob SELECT {line}, {key} FROM n"),
    (20_000, "ledger_detail SELECT {line}, {key} FROM n"),
    (5_000, "ledger_intent SELECT {key}, i, 0 FROM n"),
    (5_000, "ledger_release_lost SELECT {key}, i, 0, {key} FROM n"),
    (5_000, "ledger_lease SELECT 'name-' || i, 'node-a', i, i FROM n"),
];

/// SQL texts between quotes, with their continued lines.
fn texts<'a>(sources: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut texts = Vec::new();
    for source in sources {
        let code: Vec<&str> =
            source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for (n, part) in code.join("\n").split('"').enumerate() {
            let text: Vec<&str> = part.split("\\\n").map(str::trim_start).collect();
            let text = text.concat();
            let is_sql = ["SELECT ", "WITH ", "INSERT ", "UPDATE ", "DELETE "]
                .iter()
                .any(|verb| text.starts_with(verb));
            // A view of the writer's connection, whose trigger consists of texts that are here.
            let is_flush = text.starts_with("INSERT INTO flush ");
            if n % 2 == 1 && is_sql && !is_flush {
                texts.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    assert!(texts.len() > 40, "the sources have {} texts only", texts.len());
    texts
}

fn fill(key: &str, line: &str) -> impl Iterator<Item = String> {
    FILL.into_iter().map(move |(n, what)| {
        let (table, what) = what.split_once(' ').unwrap();
        let what = what.replace("{key}", key).replace("{line}", line);
        format!(
            "INSERT INTO {table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
             WHERE i < {n}) {what}"
        )
    })
}

fn judge(
    engine: &str,
    text: &str,
    plan: &[String],
    bad: impl Fn(usize, &str) -> bool,
) -> Vec<String> {
    let may: Vec<&str> = MAY
        .iter()
        .filter(|(part, _, why)| text.contains(part) && !why.is_empty())
        .flat_map(|(_, may, _)| may.iter().copied())
        .collect();
    let bad = |(n, line): &(usize, &String)| bad(*n, line) && !may.iter().any(|m| line.contains(m));
    let found: Vec<&str> = plan.iter().enumerate().filter(bad).map(|(_, l)| l.as_str()).collect();
    match found.is_empty() {
        true => vec![],
        false => vec![format!("{engine}: {text}\n    {}\n  of {plan:#?}", found.join("\n    "))],
    }
}

pub(super) async fn sqlite(pool: &SqlitePool) {
    for sql in fill("CAST(printf('%016d', i) AS BLOB)", "CAST(printf('%032d', i) AS BLOB)") {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
    let mut faults = Vec::new();
    for text in texts(BOTH.into_iter().chain([include_str!("../sqlite.rs")])) {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).fetch_all(pool).await.unwrap();
        let plan: Vec<String> = plan.into_iter().map(|(.., line)| line).collect();
        faults.extend(judge("SQLite", &text, &plan, |_, line| {
            // What has no limit is all wanted, in whatever order it is read.
            let sorts = line.contains("USE TEMP B-TREE") && !line.contains("LAST");
            (sorts && text.contains(" LIMIT "))
                || (line.starts_with("SCAN ") && line != "SCAN CONSTANT ROW")
        }));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

pub(super) async fn postgres(pool: &PgPool) {
    let key = |n| format!("convert_to(lpad(i::text, {n}, '0'), 'UTF8')");
    for sql in fill(&key(16), &key(32)) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
    }
    sqlx::raw_sql("ANALYZE").execute(pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    // Plans for any parameters: a prepared statement may come to one of these.
    let generic = "SET plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(generic).execute(&mut *connection).await.unwrap();
    let mut faults = Vec::new();
    for text in texts(BOTH.into_iter().chain([include_str!("../postgres.rs")])) {
        let parameters = (1..=40).filter(|n| text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
        let prepare = format!("PREPARE asked AS {text}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked{nulls}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 0)).collect();
        sqlx::raw_sql("DEALLOCATE asked").execute(&mut *connection).await.unwrap();
        faults.extend(judge("PostgreSQL", &text, &plan, |n, line| {
            let line = line.trim_start().trim_start_matches("->  ");
            let next = plan.get(n + 1).map_or("", |next| next.trim_start());
            let reads_all = line.starts_with("Index") && !next.starts_with("Index Cond");
            let sorts = line.starts_with("Sort  ") && text.contains(" LIMIT ");
            let starts = ["Seq Scan", "Parallel", "Hash Join", "Merge"];
            sorts
                || (reads_all && line.contains("Scan"))
                || starts.iter().any(|bad| line.starts_with(bad))
        }));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
