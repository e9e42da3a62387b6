//! Notices the end of a burst of connections, whose memory can then be given back.

/// Connections that must have ended: fewer leave too little behind.
const ENOUGH: usize = 256;

/// While so many end between two looks, more are about to.
const SETTLED: usize = ENOUGH / 8;

/// What was seen of connections so far.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    open: usize,
    ended: usize,
}

impl Burst {
    /// Takes note of how many connections of apps and peers are open now, and how many to endpoints were closed; says whether
    /// enough have ended, and the rest stays.
    pub(crate) fn is_over(&mut self, open: usize, closed: usize) -> bool {
        let ended = self.open.saturating_sub(open) + closed;
        self.open = open;
        self.ended += ended;
        let over = self.ended >= ENOUGH && ended < SETTLED;
        if over {
            self.ended = 0;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_once_when_its_connections_have_ended() {
        let mut burst = Burst::default();
        let looks = [(8000, 0), (8000, 0), (5000, 0), (100, 0), (90, 0), (90, 0), (90, 0)];

        let over = looks.map(|(open, closed)| burst.is_over(open, closed));

        assert_eq!(over, [false, false, false, false, true, false, false]);
    }

    #[test]
    fn connections_to_endpoints_count_and_a_few_do_not() {
        let mut burst = Burst::default();
        assert!(!burst.is_over(10, 300));
        assert!(burst.is_over(10, 0));
        assert!((0..50).all(|look| !burst.is_over(10 + look % 2 * 5, 0)));
    }
}
