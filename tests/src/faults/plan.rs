//! Which faults, in which order, upon whom: all of it from a seed.

use std::time::Duration;

use super::Fault;

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What.
    pub fault: Fault,
    /// Upon whom: a number to draw by among those that may be the victim.
    pub victim: u64,
    /// A second number to draw by.
    pub other: u64,
    /// How long it lasts.
    pub length: Duration,
    /// The quiet after it.
    pub quiet: Duration,
}

/// The faults of a seed, without end. Each kind comes once before any comes again.
#[derive(Clone, Debug)]
pub struct Plan {
    state: u64,
    deck: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, deck: Vec::new() }
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.deck.is_empty() {
            self.deck = Fault::ALL.to_vec();
            for n in (1..self.deck.len()).rev() {
                let with = usize::try_from(self.below(n as u64 + 1)).unwrap_or(0);
                self.deck.swap(n, with);
            }
        }
        let fault = self.deck.pop()?;
        let (victim, other) = (self.draw(), self.draw());
        let length = match fault.lengths() {
            [] => Duration::from_millis(500 + self.below(1500)),
            lengths => Duration::from_secs(lengths[usize::try_from(self.below(lengths.len() as u64)).unwrap_or(0)]),
        };
        let quiet = Duration::from_millis(2500 + self.below(1500));
        Some(Planned { fault, victim, other, length, quiet })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_stands_for_one_plan_and_has_every_fault_once_a_round() {
        let plan = |seed| Plan::new(seed).take(2 * Fault::ALL.len()).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        for round in plan(7).chunks(Fault::ALL.len()) {
            for fault in Fault::ALL {
                assert_eq!(round.iter().filter(|planned| planned.fault == *fault).count(), 1, "{fault:?}");
            }
        }
    }
}
