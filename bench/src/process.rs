//! What a process costs, as the kernel counts it: CPU time of all its threads, and memory.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// A running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pid(pub(crate) u32);

impl Pid {
    /// User and system time of all threads. A thread that ended takes its time along: the processes measured here keep theirs.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let tasks = format!("/proc/{}/task", self.0);
        let mut nanos = 0;
        for task in std::fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))? {
            let path = task?.path().join("schedstat");
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let first = text.split_whitespace().next().context("empty schedstat")?;
            nanos += first.parse::<u64>().with_context(|| format!("{}: {text}", path.display()))?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// User and system time, that of threads that have ended included; to 10 ms.
    pub(crate) fn cpu_of_all(self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.0);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // Behind the name, which may hold anything: state is the third field, utime and stime the 14th and 15th.
        let (_, fields) = text.rsplit_once(')').with_context(|| format!("{path}: {text}"))?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
        Ok(Duration::from_millis(
            ticks.with_context(|| format!("{path}: {text}"))? * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Resident memory in KiB, with its peak.
    pub(crate) fn memory(self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.0);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let field = |name: &str| {
            let line =
                text.lines().find(|line| line.starts_with(name)).with_context(|| format!("{path}: no {name}"))?;
            let number = line.split_whitespace().nth(1).with_context(|| format!("{path}: {line}"))?;
            number.parse::<u64>().with_context(|| format!("{path}: {line}"))
        };
        Ok(Memory { resident_kib: field("VmRSS:")?, peak_kib: field("VmHWM:")? })
    }
}

/// A process's memory.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_this_process_compute() {
        let this = Pid(std::process::id());
        let before = this.cpu().unwrap();

        let mut sum = 0u64;
        while this.cpu().unwrap() <= before || this.cpu_of_all().unwrap().is_zero() {
            sum = (0..1_000_000u64).fold(sum, |sum, n| std::hint::black_box(sum.wrapping_add(n)));
        }

        let memory = this.memory().unwrap();
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib);
    }
}
