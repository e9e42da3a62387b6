//! Sheds load before the kernel's out-of-memory killer does: how much memory is used of what the container may have is looked
//! at all the time, and the fuller it is the less is taken on. What runs goes on, and the connections of the own app are
//! not touched.

mod cgroup;

use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::trim;
use tokio::time::{Instant, sleep};

use crate::admission::Admission;
use cgroup::{Cgroup, Roots};

/// How short memory is: each level does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Normal,
    /// Free memory is given back, and peers without an identity leave after their present request.
    Tight,
    /// Peers without an identity are refused, and connections that have shown nothing are closed.
    Hard,
    /// No inbound connection is accepted.
    Full,
    /// Connections of peers without an identity are closed though they run: a kill would close all of them, and the app's own.
    Critical,
}

impl Level {
    const ALL: [Self; 5] = [Self::Normal, Self::Tight, Self::Hard, Self::Full, Self::Critical];

    /// Percent of `limit`, and MiB below it, at which the level begins, whichever comes first. MiB because a burst takes several
    /// before anything can be done about it, whatever the limit is; fewer below 32 MiB.
    fn begin(self, limit: u64) -> u64 {
        let (percent, below) = match self {
            Self::Normal => return 0,
            Self::Tight => (85, 12),
            Self::Hard => (92, 8),
            Self::Full => (95, 5),
            Self::Critical => (97, 3),
        };
        let below = below * limit.min(32 * MIB) / 32;
        (limit / 100 * percent).min(limit - below)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Tight => "tight",
            Self::Hard => "hard",
            Self::Full => "full",
            Self::Critical => "critical",
        }
    }

    pub(crate) fn from_u8(level: u8) -> Self {
        Self::ALL.into_iter().find(|known| *known as u8 == level).unwrap_or(Self::Critical)
    }

    /// The level when `used` bytes are used of `limit`, and it was `self`: one is left only when it is well below.
    fn next(self, used: u64, limit: u64) -> Self {
        let reached = |level: &Self| {
            let below = if *level <= self { limit / 100 * HYSTERESIS } else { 0 };
            used >= level.begin(limit).saturating_sub(below)
        };
        Self::ALL.into_iter().rev().find(reached).unwrap_or(Self::Normal)
    }
}

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
const MIB: u64 = 1024 * 1024;
/// How often the limit is.
const LOOK_FOR_LIMIT: Duration = Duration::from_secs(5);
/// Giving memory back takes milliseconds.
const TRIM: Duration = Duration::from_secs(1);
/// When something is being closed: what it gives back must be seen before more is.
const TRIM_SOON: Duration = Duration::from_millis(20);
/// Percent of the limit below a level's begin at which it ends.
const HYSTERESIS: u64 = 3;
/// A peer on a busy machine has had its turn by then.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_once_and_fall_when_it_is_well_over() {
        use Level::{Critical, Full, Hard, Normal, Tight};
        let mut level = Normal;
        let mut seen = Vec::new();
        for percent in [50, 84, 85, 84, 82, 81, 92, 90, 96, 93, 91, 88, 70, 200, 94] {
            level = level.next(percent * 10 * MIB, 1000 * MIB);
            seen.push((percent, level));
        }
        let expected = [
            Normal, Normal, Tight, Tight, Tight, Normal, Hard, Hard, Full, Full, Hard, Tight, Normal, Critical,
            Critical,
        ];
        assert_eq!(seen.iter().map(|(_, level)| *level).collect::<Vec<_>>(), expected, "{seen:?}");
        for level in Level::ALL {
            assert_eq!(Level::from_u8(level as u8), level);
        }
    }

    #[test]
    fn a_small_limit_leaves_room_for_a_burst_and_none_is_overloaded_from_the_start() {
        for mib in [1, 8, 16, 32, 64, 250, 1024, 100_000] {
            let limit = mib * MIB;
            let begins = Level::ALL.map(|level| level.begin(limit));
            assert!(begins.is_sorted() && begins[1] > limit / 2 && begins[4] < limit, "{mib} MiB: {begins:?}");
        }
        assert_eq!(Level::Full.begin(64 * MIB), 59 * MIB);
        assert_eq!(Level::Full.begin(1000 * MIB), 950 * MIB);
    }
}
