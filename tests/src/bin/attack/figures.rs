//! What is measured of a process and of its clients.

use std::time::Duration;

use outrigger_tests::{Mesh, Pod};

/// A pod whose sidecar logs what it logs by default, and not all that a test may want to know; with more arguments for it.
pub(crate) fn pod(mesh: &mut Mesh, name: &str, app: &str, args: &[&str]) -> Pod {
    mesh.pod_with(name, app, "", &[&["--access-log", "errors", "--log-filter", "info"], args].concat())
}

/// The 99th percentile of what is sorted.
pub(crate) fn p99(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// CPU time of a process so far, milliseconds.
pub(crate) fn spent(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11)).expect("a line of /proc");
    let ticks: u64 = fields.take(2).map(|field| field.parse::<u64>().expect("a number of ticks")).sum();
    // The kernel counts in hundredths of a second, whatever its own tick is.
    ticks * 10
}

/// Resident memory, KiB.
pub(crate) fn resident(process: u32) -> u64 {
    status(process, "VmRSS:")
}

/// The peak of that, KiB.
pub(crate) fn peak(process: u32) -> u64 {
    status(process, "VmHWM:")
}

fn status(process: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a process has memory");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of KiB")
}

/// Lets the peak begin anew (proc(5), `clear_refs`).
pub(crate) fn forget_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the process is ours");
}

/// Milliseconds as a table has them.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}
