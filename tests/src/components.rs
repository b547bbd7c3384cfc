//! What this run has to test against, from the environment that `tests/all` sets; and how a test says that
//! it was left out.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
};

/// A server or file set that a test may need; its text is how a person would name it.
#[derive(Clone, Copy, Debug)]
pub enum Component {
    Kafka,
    Postgres,
    Payloads,
    Judges,
    Clients,
    Promtool,
    Servers,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Apache Kafka",
            Self::Postgres => "PostgreSQL",
            Self::Payloads => "the fetched webhook payloads",
            Self::Judges => "the Python judges",
            Self::Clients => "Kafka's clients",
            Self::Promtool => "Prometheus' promtool",
            Self::Servers => "programs to start private servers with",
        }
    }
}

/// The clusters of the two regions.
#[derive(Clone, Debug)]
pub struct Kafka {
    pub eu: Cluster,
    pub us: Cluster,
    /// The CA that signed both brokers' certificates.
    pub ca: PathBuf,
}

/// Where one cluster listens, as `host:port` lists.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub plain: String,
    pub tls: String,
    /// The folder of its logs, for `kafka::dump`.
    pub logs: PathBuf,
}

/// The shared clusters, if they run.
pub fn kafka() -> Result<Kafka, Component> {
    let var = |name: &str| env::var(name).map_err(|_| Component::Kafka);
    let cluster = |region: &str| {
        Ok(Cluster {
            plain: var(&format!("SLUICEGATE_TEST_KAFKA_{region}"))?,
            tls: var(&format!("SLUICEGATE_TEST_KAFKA_{region}_SSL"))?,
            logs: var(&format!("SLUICEGATE_TEST_KAFKA_{region}_LOG"))?.into(),
        })
    };
    Ok(Kafka {
        eu: cluster("EU")?,
        us: cluster("US")?,
        ca: var("SLUICEGATE_TEST_KAFKA_CA")?.into(),
    })
}

/// The superuser's URL of the shared PostgreSQL, if it runs.
pub fn postgres() -> Result<String, Component> {
    env::var("SLUICEGATE_TEST_POSTGRES").map_err(|_| Component::Postgres)
}

/// The file with GitHub's webhook payloads, if it was fetched.
pub fn payloads() -> Result<PathBuf, Component> {
    fetched("octokit/package/api.github.com/index.json").ok_or(Component::Payloads)
}

/// The Python interpreter that has the independent judges, if they were installed.
pub fn judges() -> Result<PathBuf, Component> {
    fetched("venv/.of").ok_or(Component::Judges)?;
    fetched("venv/bin/python").ok_or(Component::Judges)
}

/// Whether Kafka's clients were installed (`clients.rs` runs them).
pub fn clients() -> Result<(), Component> {
    fetched("clients/.of").map(|_| ()).ok_or(Component::Clients)
}

/// Prometheus' own checker of its text format, if it was fetched.
pub fn promtool() -> Result<PathBuf, Component> {
    fetched("promtool/promtool").ok_or(Component::Promtool)
}

/// Whether private servers can be started: Kafka's jars fetched, PostgreSQL installed. Only under
/// `tests/all`: a plain `cargo test` starts no servers.
pub fn servers() -> Result<(), Component> {
    if everything_must_run() && fetched("kafka/.of").is_some() {
        Ok(())
    } else {
        Err(Component::Servers)
    }
}

/// Set by `tests/all`: a test without its component fails then.
pub fn everything_must_run() -> bool {
    env::var_os("SLUICEGATE_TEST_ALL").is_some_and(|value| value == "1")
}

fn fetched(path: &str) -> Option<PathBuf> {
    let path = here().join(".cache").join(path);
    path.exists().then_some(path)
}

/// The folder of this crate.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The top of the repository.
pub fn root() -> &'static Path {
    here().parent().unwrap()
}

/// The component, or `None` after saying what was left out. Use it through [`require!`](crate::require).
pub fn or_leave_out<T>(wanted: Result<T, Component>) -> Option<T> {
    let missing = match wanted {
        Ok(component) => return Some(component),
        Err(missing) => missing.name(),
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        !everything_must_run(),
        "{test} needs {missing}, and in this run everything must be there"
    );
    tell(&format!("left out: {test}: needs {missing} (tests/all brings it)"));
    None
}

/// A line for whoever runs the tests, past the test runner, which keeps the output of a test that passes.
pub fn tell(line: &str) {
    // One write, so that lines of tests that run side by side do not mix.
    let _unread = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// `let kafka = require!(kafka);` at the start of a test: the component, or the test is left out.
#[macro_export]
macro_rules! require {
    ($component:ident) => {
        match $crate::components::or_leave_out($crate::components::$component()) {
            Some(component) => component,
            None => return,
        }
    };
}
