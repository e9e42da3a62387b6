//! How many retries a backend's requests have earned: one for every five requests of the last ten seconds, and ten a
//! second in any case, so that rare requests can be repeated too (the defaults of GEP-3388).

use std::fmt;
use std::time::Duration;

use tower::retry::budget::{Budget as _, TpsBudget};

/// The budget of one backend, shared by all its requests.
pub(crate) struct Budget(TpsBudget);

const INTERVAL: Duration = Duration::from_secs(10);
const PER_SECOND: u32 = 10;
const SHARE: f32 = 0.2;

impl Default for Budget {
    fn default() -> Self {
        Self(TpsBudget::new(INTERVAL, PER_SECOND, SHARE))
    }
}

impl Budget {
    /// Counts a request.
    pub(crate) fn deposit(&self) {
        self.0.deposit();
    }

    /// Takes one retry out, if there is one.
    pub(crate) fn withdraw(&self) -> bool {
        self.0.withdraw()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Budget")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_a_fifth_of_the_requests_beyond_the_reserve() {
        let budget = Budget::default();
        (0..1000).for_each(|_| budget.deposit());

        let retries = (0..1000).filter(|_| budget.withdraw()).count();

        // 200 earned and a reserve of 10/s over 10 s.
        assert!((250..=310).contains(&retries), "{retries}");
    }
}
