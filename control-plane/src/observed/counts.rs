//! What is counted on an edge, as a row of numbers: differences and sums are the same for each.

use outrigger_proto::wire;

/// How attempts, requests and dials end, in the order of the wire.
pub(crate) const CLASSES: [&str; 8] =
    ["ok", "clientError", "serverError", "grpcError", "reset", "refused", "timedOut", "meshError"];

/// Buckets of a histogram, the one beyond all bounds included.
pub(crate) const BUCKETS: usize = 32;

/// Upper bounds of the buckets in microseconds, the last one excepted: from 250 µs, two to each doubling. Sidecars of all versions use these.
pub(crate) fn bounds() -> impl Iterator<Item = u64> {
    (0..BUCKETS - 1).map(|at| {
        let octave = 250_u64 << (at / 2);
        if at % 2 == 0 { octave } else { octave * 1_414_214 / 1_000_000 }
    })
}

/// A tally: by class, abandoned, slow, buckets.
const TALLY: usize = CLASSES.len() + 2 + BUCKETS;
/// Started, two tallies, and connections: opened, closed, sent, received, failed by class.
const COUNTS: usize = 1 + 2 * TALLY + 4 + CLASSES.len();
const ATTEMPTS: usize = 1;
const REQUESTS: usize = ATTEMPTS + TALLY;
const CONNECTIONS: usize = REQUESTS + TALLY;

/// Numbers that only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts([u64; COUNTS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNTS])
    }
}

/// Requests, or attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally<'a>(&'a [u64]);

impl Counts {
    /// Reads what a sidecar has sent; what is more than there is room for is of a newer version.
    pub(crate) fn of(wire: &wire::Counters) -> Self {
        let mut counts = Self::default();
        let rows = &mut counts.0;
        rows[0] = wire.started;
        for (at, tally) in [(ATTEMPTS, &wire.attempts), (REQUESTS, &wire.requests)] {
            let Some(wire::Tally { ended, abandoned, slow, buckets }) = tally else { continue };
            copy(&mut rows[at..at + CLASSES.len()], ended);
            (rows[at + CLASSES.len()], rows[at + CLASSES.len() + 1]) = (*abandoned, *slow);
            copy(&mut rows[at + CLASSES.len() + 2..at + TALLY], buckets);
        }
        let wire::Counters { opened, closed, sent, received, failed, .. } = wire;
        for (to, count) in rows[CONNECTIONS..].iter_mut().zip([opened, closed, sent, received]) {
            *to = *count;
        }
        copy(&mut rows[CONNECTIONS + 4..], failed);
        counts
    }

    /// Returns them as they are sent.
    pub(crate) fn wire(&self) -> wire::Counters {
        let tally = |tally: Tally<'_>| {
            let Tally(rows) = tally;
            let (ended, rest) = rows.split_at(CLASSES.len());
            Some(wire::Tally { ended: trimmed(ended), abandoned: rest[0], slow: rest[1], buckets: trimmed(&rest[2..]) })
        };
        wire::Counters {
            started: self.started(),
            attempts: tally(self.attempts()),
            requests: tally(self.requests()),
            opened: self.opened(),
            closed: self.closed(),
            sent: self.0[CONNECTIONS + 2],
            received: self.0[CONNECTIONS + 3],
            failed: trimmed(self.failed()),
        }
    }

    /// What has been added since `before`; `None` when a number has gone back, which none does in one process.
    pub(crate) fn since(&self, before: &Self) -> Option<Self> {
        let mut difference = Self::default();
        for ((to, now), before) in difference.0.iter_mut().zip(&self.0).zip(&before.0) {
            *to = now.checked_sub(*before)?;
        }
        Some(difference)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // A hostile number is no reason to stop.
        self.0.iter_mut().zip(&other.0).for_each(|(to, more)| *to = to.saturating_add(*more));
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    pub(crate) fn started(&self) -> u64 {
        self.0[0]
    }

    pub(crate) fn attempts(&self) -> Tally<'_> {
        Tally(&self.0[ATTEMPTS..REQUESTS])
    }

    pub(crate) fn requests(&self) -> Tally<'_> {
        Tally(&self.0[REQUESTS..CONNECTIONS])
    }

    pub(crate) fn opened(&self) -> u64 {
        self.0[CONNECTIONS]
    }

    pub(crate) fn closed(&self) -> u64 {
        self.0[CONNECTIONS + 1]
    }

    /// Bytes sent and received.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        [self.0[CONNECTIONS + 2], self.0[CONNECTIONS + 3]]
    }

    /// Connections that could not be opened, by class.
    pub(crate) fn failed(&self) -> &[u64] {
        &self.0[CONNECTIONS + 4..]
    }

    /// Attempts that have begun and not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.started().saturating_sub(self.attempts().total())
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        self.opened().saturating_sub(self.closed())
    }
}

impl<'a> Tally<'a> {
    pub(crate) fn by_class(self) -> &'a [u64] {
        &self.0[..CLASSES.len()]
    }

    pub(crate) fn abandoned(self) -> u64 {
        self.0[CLASSES.len()]
    }

    pub(crate) fn slow(self) -> u64 {
        self.0[CLASSES.len() + 1]
    }

    pub(crate) fn buckets(self) -> &'a [u64] {
        &self.0[CLASSES.len() + 2..]
    }

    fn total(self) -> u64 {
        self.0[..=CLASSES.len()].iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Counts without the zeros, of which there are many, each as its place and seven bits a byte: what is kept of each edge of each sidecar, in some eighty
/// bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sparse(Box<[u8]>);

impl From<&Counts> for Sparse {
    fn from(counts: &Counts) -> Self {
        let mut bytes = Vec::with_capacity(96);
        for (at, count) in (0_u8..).zip(counts.0).filter(|(_, count)| *count > 0) {
            bytes.push(at);
            let mut rest = count;
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        Self(bytes.into())
    }
}

impl From<&Sparse> for Counts {
    fn from(sparse: &Sparse) -> Self {
        let mut counts = Self::default();
        let mut bytes = sparse.0.iter();
        while let Some(at) = bytes.next() {
            let count = &mut counts.0[usize::from(*at)];
            for (shift, byte) in (0..u64::BITS).step_by(7).zip(&mut bytes) {
                *count |= u64::from(byte & 0x7f) << shift;
                if *byte <= 0x7f {
                    break;
                }
            }
        }
        counts
    }
}

fn copy(to: &mut [u64], from: &[u64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

fn trimmed(counts: &[u64]) -> Vec<u64> {
    let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    counts[..used].to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_or_kept_is_the_same_when_it_is_read(rows in proptest::collection::vec(any::<u64>(), COUNTS)) {
            let counts = Counts(rows.try_into().unwrap());
            prop_assert_eq!(&Counts::of(&counts.wire()), &counts);
            prop_assert_eq!(&Counts::from(&Sparse::from(&counts)), &counts);
        }
    }

    #[test]
    fn more_classes_and_buckets_than_are_known_are_passed_over() {
        let tally = wire::Tally { ended: vec![1; 99], abandoned: 7, slow: 8, buckets: vec![2; 999] };
        let counts = Counts::of(&wire::Counters { attempts: Some(tally), failed: vec![3; 99], ..Default::default() });
        assert_eq!((counts.attempts().abandoned(), counts.attempts().slow()), (7, 8));
        assert_eq!(counts.attempts().buckets(), [2; BUCKETS]);
        assert_eq!(counts.failed(), [3; CLASSES.len()]);
        assert_eq!(counts.requests().total(), 0);
        assert_eq!(bounds().last(), Some(8_192_000));
    }
}
