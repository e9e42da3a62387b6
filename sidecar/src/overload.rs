//! Sheds load before the kernel's out-of-memory killer does: how much memory is used of what the container may have is looked
//! at all the time, and the fuller it is the less is taken on. What runs goes on, and the connections of the own app are
//! not touched.

mod cgroup;

use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::trim;
use tokio::time::{Instant, sleep};

use crate::admission::{Admission, Level};
use cgroup::{Cgroup, Roots};

/// Watches memory until the process ends. Without a limit there is nothing to watch, until there is one.
pub(crate) async fn watch(admission: Arc<Admission>) {
    let roots = Roots::default();
    let mut cgroup = None;
    let mut looked: Option<Instant> = None;
    let mut trimmed: Option<Instant> = None;
    // Rises are logged at once; what comes and goes is not logged each time.
    let mut logged = (Level::Normal, Instant::now());
    let mut pause = LOOK;
    loop {
        sleep(pause).await;
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_FOR_LIMIT) {
            // Limits of running containers can be changed, and a process can be moved.
            cgroup = Cgroup::own(&roots);
            looked = Some(Instant::now());
        }
        let usage = cgroup.as_ref().map(|cgroup| (cgroup.used(), cgroup.limit));
        admission.set_memory(usage);
        let Some((used, limit)) = usage else { continue };
        // A burst takes tens of MiB in a tenth of a second.
        pause = if used >= limit / 2 { LOOK_CLOSELY } else { LOOK };
        let level = admission.level().next(used, limit);
        admission.set_level(level);
        if level > logged.0 || level != logged.0 && logged.1.elapsed() >= QUIET {
            log(level, logged.0, used, limit);
            logged = (level, Instant::now());
        }
        let trim_after = if level >= Level::Hard { TRIM_SOON } else { TRIM };
        if level >= Level::Tight && trimmed.is_none_or(|trimmed| trimmed.elapsed() >= trim_after) {
            trim();
            trimmed = Some(Instant::now());
        }
        match level {
            Level::Normal | Level::Tight => {}
            Level::Hard => admission.close_silent(admission.silent() / 16 + 1, PATIENCE),
            Level::Full => admission.close_silent(admission.silent() / 4 + 1, Duration::ZERO),
            Level::Critical => {
                admission.close_silent(usize::MAX, Duration::ZERO);
                admission.close_strangers(admission.strangers() / 8 + 1);
            }
        }
    }
}

fn log(level: Level, before: Level, used: u64, limit: u64) {
    let (level_now, before_it) = (level.as_str(), before.as_str());
    if level > before {
        tracing::warn!(level = level_now, before = before_it, used, limit, "memory is short; shedding load");
    } else {
        tracing::info!(level = level_now, before = before_it, used, limit, "memory is less short");
    }
}

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often when half of the limit is used: it takes some microseconds.
const LOOK_CLOSELY: Duration = Duration::from_millis(5);
/// Between a line in the log and one that says that it is better.
const QUIET: Duration = Duration::from_secs(1);
/// How often the limit is.
const LOOK_FOR_LIMIT: Duration = Duration::from_secs(5);
/// Giving memory back takes milliseconds.
const TRIM: Duration = Duration::from_secs(1);
/// When something is being closed: what it gives back must be seen before more is.
const TRIM_SOON: Duration = Duration::from_millis(20);
/// A peer on a busy machine has had its turn by then.
const PATIENCE: Duration = Duration::from_secs(1);
