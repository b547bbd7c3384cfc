//! PostgreSQL: a fresh database per test on the shared server, and private servers that a test may stop.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tempfile::TempDir;

use crate::{
    components,
    process::{Process, Signal, eventually, free_port},
};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A database of one test's own, empty at first. It goes away with its server.
#[derive(Clone, Debug)]
pub struct Database {
    pub url: String,
}

impl Database {
    /// Makes one on the server that this superuser URL names.
    pub async fn fresh(server: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(server).await.unwrap();
        // The name is ours: letters, digits and underscores.
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let (before, _maintenance) = server.rsplit_once('/').unwrap();
        Self { url: format!("{before}/{name}") }
    }

    pub async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(4).connect(&self.url).await.unwrap()
    }

    /// Every row of every table as JSON text, for a search over what the database holds.
    pub async fn dump(&self) -> String {
        let pool = self.pool().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
        )
        .fetch_all(&pool)
        .await
        .unwrap();
        let mut dump = String::new();
        for table in tables {
            let select = AssertSqlSafe(format!("SELECT to_jsonb(t)::text FROM {table} t"));
            let rows: Vec<String> = sqlx::query_scalar(select).fetch_all(&pool).await.unwrap();
            for row in rows {
                dump.push_str(&row);
                dump.push('\n');
            }
        }
        pool.close().await;
        dump
    }
}

/// A server for tests that stop, kill or freeze it. Same port and data after every start.
pub struct PrivatePostgres {
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

const PASSWORD: &str = "private";

impl PrivatePostgres {
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("sluicegate-postgres").tempdir().unwrap();
        fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let mut server = Self { dir, port: free_port(), process: None };
        server.start_again().await;
        server
    }

    /// The superuser's URL of the maintenance database.
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it after [`stop`](Self::stop) or [`crash`](Self::crash); returns once it answers queries.
    pub async fn start_again(&mut self) {
        let log = self.dir.path().with_extension("log");
        let mut node = Command::new(components::here().join("components/postgres/node"));
        node.arg(self.dir.path()).arg(self.port.to_string());
        self.process = Some(Process::start(&mut node, &log, &log));
        let up = eventually(STARTS_WITHIN, async || {
            assert!(self.process.as_mut().unwrap().ended().is_none(), "{}", read(&log));
            PgConnection::connect_with(&self.options()).await.ok()
        });
        let Some(connection) = up.await else { panic!("PostgreSQL did not start: {}", read(&log)) };
        connection.close().await.unwrap();
    }

    fn options(&self) -> PgConnectOptions {
        self.url().parse().unwrap()
    }

    /// In order and at once: clients are cut off, nothing is lost.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::Int);
            assert!(process.wait(STOPS_WITHIN).await.is_some(), "PostgreSQL does not stop");
        }
    }

    /// PostgreSQL's own emergency stop: all its processes end without a checkpoint, as in a crash; a start
    /// recovers from the log. (`kill -9` would leave its children behind for a while.)
    pub async fn crash(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::Quit);
            assert!(process.wait(STOPS_WITHIN).await.is_some(), "PostgreSQL does not end");
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::Quit);
            // A second is ample for an immediate stop; what is left after it is killed with the process.
            for _ in 0..100 {
                if process.ended().is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _log = fs::remove_file(self.dir.path().with_extension("log"));
    }
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
