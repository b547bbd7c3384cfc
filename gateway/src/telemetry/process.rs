//! What Prometheus' client libraries tell of any process, from Linux's `/proc`. A file that cannot be read
//! leaves its series out.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// `USER_HZ`, in which `/proc` counts time: 100 on every architecture that Rust supports on Linux.
const TICKS_PER_S: f64 = 100.0;
const STAT_UTIME: usize = 11;
const STAT_STIME: usize = 12;
const STAT_STARTTIME: usize = 19;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if let Some(seconds) = cpu_s() {
            let counter = ConstCounter::new(seconds);
            let kind = counter.metric_type();
            let help = "User and system CPU time spent in seconds";
            let at = encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?;
            counter.encode(at)?;
        }
        for (name, help, value) in [
            ("process_start_time_seconds", "Start time since the Unix epoch in seconds", start_s()),
            ("process_resident_memory_bytes", "Resident memory size in bytes", resident_bytes()),
            ("process_open_fds", "Number of open file descriptors", open_fds()),
            ("process_max_fds", "Maximum number of open file descriptors", max_fds()),
        ] {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            let at = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(at)?;
        }
        Ok(())
    }
}

/// A field of `/proc/self/stat`, counted behind the command's name, which may hold anything.
fn stat(field: usize) -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(field)?.parse().ok()
}

fn cpu_s() -> Option<f64> {
    Some((stat(STAT_UTIME)? + stat(STAT_STIME)?) / TICKS_PER_S)
}

fn start_s() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(boot + stat(STAT_STARTTIME)? / TICKS_PER_S)
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024.0)
}

fn open_fds() -> Option<f64> {
    // One of them reads the folder.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(open).ok().map(f64::from)
}

fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_memory_and_files() {
        assert!(start_s().unwrap() > 1.5e9);
        assert!(resident_bytes().unwrap() > 1e5);
        assert!((3.0..=max_fds().unwrap()).contains(&open_fds().unwrap()));
        assert!(cpu_s().unwrap() >= 0.0);
    }
}
