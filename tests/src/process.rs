//! A process of ours: started with its output in a file, signalled by its own id, ended when dropped.
//!
//! Signals go through the `kill` program: this workspace forbids `unsafe`.

use std::{
    fs::OpenOptions,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);
/// Linux takes the ports of connections from 32768 on.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 12_000;

/// What to tell a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Reload.
    Hup,
    /// Stop, in order.
    Term,
    /// PostgreSQL: stop now, in order. Others: as by Ctrl-C.
    Int,
    /// PostgreSQL: end all its processes without a checkpoint.
    Quit,
    /// End at once, nothing runs any more.
    Kill,
    /// Freeze: connections stay open and nothing answers.
    Stop,
    /// Go on after [`Signal::Stop`].
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Hup => "HUP",
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// A running child process.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it with stdout and stderr appended to files, so that a test can search them later.
    pub fn start(command: &mut Command, stdout: &Path, stderr: &Path) -> Self {
        let append = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Stdio::from(file.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display())))
        };
        let command = command.stdin(Stdio::null()).stdout(append(stdout)).stderr(append(stderr));
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Self { child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Signals it; a process that has ended already is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        let sent =
            Command::new("kill").args(["-s", signal.name(), &self.id().to_string()]).status();
        assert!(sent.unwrap().success(), "could not send {signal:?} to {}", self.id());
    }

    /// Waits for its end, at most `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() > until {
                return ended;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// `kill -9`, and its end has been seen when this returns.
    pub fn kill(&mut self) {
        let _already_ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback port that nobody listens on, and that is given out once: below the ports which the system hands
/// to connections, so that none of those takes it before its server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from_here = std::process::id().wrapping_mul(61);
    loop {
        let nth = from_here.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(nth % PORTS).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Asks again until the answer is there; `None` after `limit`.
pub async fn eventually<T>(limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + limit;
    loop {
        let answer = ask().await;
        if answer.is_some() || Instant::now() > until {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::free_port;

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: BTreeSet<u16> = (0..500).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 500);
    }
}
