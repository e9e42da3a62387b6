//! How short memory is, and what that asks for.

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
    pub(crate) fn next(self, used: u64, limit: u64) -> Self {
        let reached = |level: &Self| {
            let below = if *level <= self { limit / 100 * HYSTERESIS } else { 0 };
            used >= level.begin(limit).saturating_sub(below)
        };
        Self::ALL.into_iter().rev().find(reached).unwrap_or(Self::Normal)
    }
}

const MIB: u64 = 1024 * 1024;
/// Percent of the limit below a level's begin at which it ends.
const HYSTERESIS: u64 = 3;

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
