//! CPU time and memory of processes, from `/proc`.

use std::{fs, time::Duration};

use serde::Serialize;
use tokio::{sync::oneshot, task::JoinHandle};

const SAMPLED_EVERY: Duration = Duration::from_millis(50);
/// A tick of the kernel's accounts, as it shows them to every program.
const TICK_MS: u64 = 10;

/// What a process used of the machine meanwhile.
#[derive(Serialize)]
pub(super) struct Watched {
    pid: u32,
    name: String,
    cpu_ms: u64,
    /// By what was published or consumed.
    cpu_ms_per_mb: Option<f64>,
    resident_mb_max: f64,
}

pub(super) struct Watch {
    begun: Vec<(u32, u64)>,
    stop: oneshot::Sender<()>,
    sampled: JoinHandle<Vec<f64>>,
}

impl Watch {
    /// Of these processes and this one.
    pub(super) fn start(pids: &[u32]) -> Result<Self, String> {
        let own = [std::process::id()];
        let begun = pids.iter().chain(&own).map(|pid| {
            let cpu_ms = cpu_ms(*pid).ok_or(format!("there is no process {pid} to watch"))?;
            Ok((*pid, cpu_ms))
        });
        let begun = begun.collect::<Result<Vec<_>, String>>()?;
        let (stop, stopped) = oneshot::channel();
        let sampled = tokio::spawn(sample(begun.iter().map(|(pid, _)| *pid).collect(), stopped));
        Ok(Self { begun, stop, sampled })
    }

    pub(super) async fn end(self, mb: f64) -> Vec<Watched> {
        let ended: Vec<_> = self.begun.iter().map(|(pid, _)| cpu_ms(*pid)).collect();
        let _sampling_ended = self.stop.send(());
        let resident = self.sampled.await.unwrap_or_default();
        let all = self.begun.into_iter().zip(ended).zip(resident);
        all.map(|(((pid, begun), ended), resident_mb_max)| {
            let cpu_ms = ended.unwrap_or(begun).saturating_sub(begun);
            Watched {
                pid,
                name: name(pid),
                cpu_ms,
                cpu_ms_per_mb: (mb > 0.0).then(|| super::load::rounded(cpu_ms as f64 / mb)),
                resident_mb_max: super::load::rounded(resident_mb_max),
            }
        })
        .collect()
    }
}

async fn sample(pids: Vec<u32>, mut stopped: oneshot::Receiver<()>) -> Vec<f64> {
    let mut highest = vec![0.0_f64; pids.len()];
    loop {
        for (highest, pid) in highest.iter_mut().zip(&pids) {
            *highest = highest.max(resident_mb(*pid).unwrap_or_default());
        }
        if tokio::time::timeout(SAMPLED_EVERY, &mut stopped).await.is_ok() {
            return highest;
        }
    }
}

/// Of user and kernel, as `proc(5)` has it: after the name, which may hold anything, the twelfth and thirteenth.
fn cpu_ms(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u64>().ok();
    Some((next()? + next()?).saturating_mul(TICK_MS))
}

fn resident_mb(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024.0 / 1e6)
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}
