//! Chance, for what no attacker gains from guessing.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use fastrand::Rng;

thread_local! {
    /// Seeded by the system, as the standard library's hash keys are: ids of traces must differ between thousands of sidecars.
    static RNG: RefCell<Rng> = RefCell::new(Rng::with_seed(RandomState::new().build_hasher().finish()));
}

/// A fast draw for balancing, weights and ids of traces; nothing secret hangs on it. Each thread has its own sequence.
pub(crate) fn random() -> u64 {
    RNG.with_borrow_mut(|rng| rng.u64(..))
}
