//! The real `sluicegate` program: started in a folder of the test's own, waited for, stopped, killed,
//! started again. Its output lands in that folder, where a search for leaks finds it.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

use crate::{
    ca::{Ca, replace},
    client::{Credential, client},
    components,
    process::{Process, Signal, eventually},
};

const STARTS_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// File names in the gateway's folder.
pub const CONFIG: &str = "sluicegate.yaml";
pub const STDOUT: &str = "gateway.out";
pub const STDERR: &str = "gateway.err";
/// By how much the wall clock is wrong there, in milliseconds.
const CLOCK: &str = "clock-leap";

/// A running gateway.
pub struct Gateway {
    dir: PathBuf,
    process: Process,
    /// Where publishers connect.
    pub data: SocketAddr,
    /// Where operators, auditors and probes connect.
    pub admin: SocketAddr,
}

/// Why a gateway did not come up: it ended, or the time was over.
#[derive(Debug)]
pub struct NotStarted {
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

impl Gateway {
    /// Writes the configuration into `dir` and starts a gateway there; returns once `/readyz` answers 200.
    /// `ca` signed the certificate of its admin listener. Listeners on port 0 are found out.
    pub async fn start(dir: &Path, config: &str, ca: &Ca) -> Result<Self, NotStarted> {
        replace(&dir.join(CONFIG), config);
        Self::start_again(dir, ca).await
    }

    /// With the configuration that is there: after a stop, or after [`kill`](Self::kill).
    pub async fn start_again(dir: &Path, ca: &Ca) -> Result<Self, NotStarted> {
        Self::start_to_crash(dir, ca, None).await
    }

    /// The same; it dies where the code says `crash_point(NAME)`.
    pub async fn start_to_crash(
        dir: &Path,
        ca: &Ca,
        point: Option<&str>,
    ) -> Result<Self, NotStarted> {
        Self::spawn(dir, point, &[]).await?.once_ready(ca).await
    }

    /// With `--restored`.
    pub async fn start_restored(dir: &Path, ca: &Ca) -> Result<Self, NotStarted> {
        Self::spawn(dir, None, &["--restored"]).await?.once_ready(ca).await
    }

    async fn once_ready(self, ca: &Ca) -> Result<Self, NotStarted> {
        match self.ready(ca, STARTS_WITHIN).await {
            true => Ok(self),
            false => Err(self.not_started()),
        }
    }

    /// Returns as soon as it listens, ready or not: for tests in which a store or pipeline is down.
    pub async fn start_unready(dir: &Path) -> Result<Self, NotStarted> {
        Self::spawn(dir, None, &[]).await
    }

    async fn spawn(dir: &Path, crash: Option<&str>, more: &[&str]) -> Result<Self, NotStarted> {
        let mut command = program(dir);
        command.args(["run", "--config", CONFIG]).args(more);
        if let Some(point) = crash {
            command.env("SLUICEGATE_TEST_CRASH", point);
        }
        let (stdout, stderr) = (dir.join(STDOUT), dir.join(STDERR));
        let already = length(&stdout);
        let mut process = Process::start(&mut command, &stdout, &stderr);
        let addresses = eventually(STARTS_WITHIN, async || {
            let text = text_from(&stdout, already);
            let found = text.lines().find_map(listening);
            match (found, process.ended()) {
                (Some(addresses), _) => Some(Some(addresses)),
                (None, Some(_)) => Some(None),
                (None, None) => None,
            }
        });
        match addresses.await.flatten() {
            Some((data, admin)) => Ok(Self { dir: dir.into(), process, data, admin }),
            None => Err(not_started(dir, &mut process)),
        }
    }

    /// Whether `/readyz` answers 200 within the time.
    pub async fn ready(&self, ca: &Ca, limit: Duration) -> bool {
        self.readiness(ca, 200, limit).await
    }

    /// Whether `/readyz` comes to answer this status within the time.
    pub async fn readiness(&self, ca: &Ca, status: u16, limit: Duration) -> bool {
        let client = client(ca, &Credential::None);
        let url = self.admin_url("/readyz");
        let seen = eventually(limit, async || {
            let answer = client.get(&url).send().await.ok()?;
            (answer.status().as_u16() == status).then_some(())
        });
        seen.await.is_some()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.data)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.admin)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Its end, if it comes within the time.
    pub async fn ends(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit).await
    }

    /// SIGHUP: read certificates, keys and policies again.
    pub fn reload(&mut self) {
        self.process.signal(Signal::Hup);
    }

    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGTERM, and its exit code: 0 after an orderly stop, `None` if it does not end in time.
    pub async fn stop(mut self) -> Option<i32> {
        self.process.signal(Signal::Term);
        self.process.wait(STOPS_WITHIN).await?.code()
    }

    /// `kill -9`: nothing of it runs any more when this returns. Dropping a gateway does the same.
    pub fn kill(mut self) {
        self.process.kill();
    }

    pub fn stdout(&self) -> String {
        text_from(&self.dir.join(STDOUT), 0)
    }

    pub fn stderr(&self) -> String {
        text_from(&self.dir.join(STDERR), 0)
    }

    fn not_started(mut self) -> NotStarted {
        not_started(&self.dir.clone(), &mut self.process)
    }
}

/// Runs the program to its end, like `sluicegate policy check DIR`.
pub fn run(dir: &Path, arguments: &[&str]) -> Output {
    program(dir).args(arguments).output().unwrap()
}

/// The program in a folder, with the wall clock that [`leap`] made there.
pub fn program(dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(dir);
    let clock = dir.join(CLOCK);
    if clock.exists() {
        command.env("SLUICEGATE_TEST_CLOCK", clock);
    }
    command
}

/// Moves the wall clock of the programs that run in a folder, and were started there after the first leap.
pub fn leap(dir: &Path, ms: i64) {
    replace(&dir.join(CLOCK), &ms.to_string());
}

/// The program under test: `SLUICEGATE_BIN`, or built once from the sources around us, with the places where
/// a test may let it die.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || build("sluicegate-gateway", "sluicegate", &["--features", "crash-points"]);
    BINARY.get_or_init(|| env::var_os("SLUICEGATE_BIN").map_or_else(build, PathBuf::from))
}

/// `sluicegate-verify`, for strangers: beside the program under test, or built once.
pub fn verifier() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let beside = binary().with_file_name("sluicegate-verify");
        if beside.exists() { beside } else { build("sluicegate-audit", "sluicegate-verify", &[]) }
    })
}

fn build(package: &str, name: &str, more: &[&str]) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--message-format=json", "-p", package, "--bin", name])
        .args(more)
        .current_dir(components::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == name)
            .then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.expect("cargo names the executable it built")
}

/// `{"event":"listening","data":"127.0.0.1:PORT","admin":"127.0.0.1:PORT"}`, one line of stdout.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let json: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| json[name].as_str()?.parse().ok();
    if json["event"] == "listening" { Some((address("data")?, address("admin")?)) } else { None }
}

fn not_started(dir: &Path, process: &mut Process) -> NotStarted {
    NotStarted {
        status: process.ended(),
        stdout: text_from(&dir.join(STDOUT), 0),
        stderr: text_from(&dir.join(STDERR), 0),
    }
}

fn length(path: &Path) -> usize {
    fs::metadata(path).map_or(0, |data| usize::try_from(data.len()).unwrap())
}

fn text_from(path: &Path, offset: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(offset..).unwrap_or_default()).into_owned()
}

#[test]
fn the_listening_line_is_found_among_others() {
    assert_eq!(listening("starting"), None);
    assert_eq!(listening(r#"{"event":"ready"}"#), None);
    let line = r#"{"event":"listening","data":"127.0.0.1:9","admin":"127.0.0.1:10"}"#;
    assert_eq!(
        listening(line),
        Some(("127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap()))
    );
}
