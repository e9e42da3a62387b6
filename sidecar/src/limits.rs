//! How many connections there may be at once: what the process may have of descriptors, divided between the directions, so
//! that neither can close the other's.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that connections do not get: control plane, admin, probes, logs, listeners, files; and what is open for a
/// moment longer than it is counted.
const RESERVE: u64 = 512;

/// Limits on connections, as they are in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Descriptors of the process (RLIMIT_NOFILE).
    pub(crate) descriptors: u64,
    /// Those of accepted and dialled connections, of both directions.
    pub(crate) together: usize,
    /// Those of one direction: the rest is the other's alone.
    pub(crate) share: usize,
    /// Accepted connections of one direction: the rest of its share is for dialling on.
    pub(crate) each: usize,
    /// Inbound connections whose peers have no identity: the rest is the mesh's alone.
    pub(crate) strangers: usize,
}

impl Limits {
    /// Divides `descriptors`; `max_connections` is the most that a direction accepts.
    pub(crate) fn new(descriptors: u64, max_connections: u32) -> Self {
        let free = descriptors - RESERVE.min(descriptors / 4);
        let together = usize::try_from(free).unwrap_or(usize::MAX).max(4);
        let each = (together / 2).min(max_connections as usize).max(1);
        Self { descriptors, together, share: together - together / 4, each, strangers: (each - each / 8).max(1) }
    }

    /// From how many of `limit` on connections that have shown nothing may be closed for new ones.
    pub(crate) fn crowded(limit: usize) -> usize {
        limit - limit / 5
    }
}

/// Raises the limit on descriptors as far as the process may, and returns what is in effect.
pub(crate) fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Refused where the maximum is beyond what the kernel has (fs.nr_open): then what there was stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_never_promised_twice_and_each_direction_has_a_part_of_its_own() {
        for descriptors in [16, 64, 256, 1024, 4096, 20_000, 65_536, 1_048_576] {
            let limits = Limits::new(descriptors, 20_000);
            assert!(limits.together as u64 + RESERVE.min(descriptors / 4) <= descriptors, "{limits:?}");
            assert!(limits.share < limits.together && limits.each < limits.share, "{limits:?}");
            assert!(limits.strangers <= limits.each && limits.strangers >= 1, "{limits:?}");
        }
        let limits = Limits::new(1_048_576, 20_000);
        assert_eq!((limits.each, limits.strangers, Limits::crowded(limits.each)), (20_000, 17_500, 16_000));
        assert!(limits.share > 500_000, "both directions have all that was asked for");
        let limits = Limits::new(20_000, 20_000);
        assert_eq!((limits.each, limits.share), (9744, 14_616), "where descriptors are fewer");
        assert_eq!(Limits::new(20_000, 100).each, 100, "the setting is the most");
    }
}
