//! Sheds load before the kernel's out-of-memory killer does: how much memory is used of what the container may have is looked
//! at ten times a second, and the fuller it is the less is taken on. What runs goes on, and the connections of the own app are
//! not touched.

mod cgroup;

use std::sync::Arc;
use std::time::Duration;

use outrigger_daemon::trim;
use tokio::time::{Instant, MissedTickBehavior, interval};

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
}

impl Level {
    const ALL: [Self; 4] = [Self::Normal, Self::Tight, Self::Hard, Self::Full];

    /// Percent of the limit from which on it is reached.
    fn begin(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Tight => 85,
            Self::Hard => 92,
            Self::Full => 95,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Tight => "tight",
            Self::Hard => "hard",
            Self::Full => "full",
        }
    }

    pub(crate) fn from_u8(level: u8) -> Self {
        Self::ALL.into_iter().find(|known| *known as u8 == level).unwrap_or(Self::Full)
    }

    /// The level at `percent`, when it was `self`: one is left only when it is well below.
    fn next(self, percent: u64) -> Self {
        let reached = |level: &Self| {
            let from = level.begin();
            percent >= if *level <= self { from.saturating_sub(HYSTERESIS) } else { from }
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
    let mut every = interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_FOR_LIMIT) {
            // Limits of running containers can be changed, and a process can be moved.
            cgroup = Cgroup::own(&roots);
            looked = Some(Instant::now());
        }
        let usage = cgroup.as_ref().map(|cgroup| (cgroup.used(), cgroup.limit));
        admission.set_memory(usage);
        let Some((used, limit)) = usage else { continue };
        let before = admission.level();
        let level = before.next(used.saturating_mul(100) / limit.max(1));
        if level != before {
            admission.set_level(level);
            log(level, before, used, limit);
        }
        if level >= Level::Tight && trimmed.is_none_or(|trimmed| trimmed.elapsed() >= TRIM) {
            trim();
            trimmed = Some(Instant::now());
        }
        match level {
            Level::Normal | Level::Tight => {}
            Level::Hard => admission.close_silent(admission.silent() / 4 + 1, PATIENCE),
            Level::Full => admission.close_silent(admission.silent() / 2 + 1, Duration::ZERO),
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
const LOOK: Duration = Duration::from_millis(100);
/// How often the limit is.
const LOOK_FOR_LIMIT: Duration = Duration::from_secs(5);
/// Giving memory back takes milliseconds.
const TRIM: Duration = Duration::from_secs(1);
/// Percent below a level's begin at which it ends.
const HYSTERESIS: u64 = 3;
/// A peer on a busy machine has had its turn by then.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_at_once_and_fall_when_it_is_well_over() {
        use Level::{Full, Hard, Normal, Tight};
        let mut level = Normal;
        let mut seen = Vec::new();
        for percent in [50, 84, 85, 84, 82, 81, 92, 90, 96, 93, 91, 88, 70, 200] {
            level = level.next(percent);
            seen.push((percent, level));
        }
        let expected = [Normal, Normal, Tight, Tight, Tight, Normal, Hard, Hard, Full, Full, Hard, Tight, Normal, Full];
        assert_eq!(seen.iter().map(|(_, level)| *level).collect::<Vec<_>>(), expected, "{seen:?}");
        for level in Level::ALL {
            assert_eq!(Level::from_u8(level as u8), level);
        }
    }
}
