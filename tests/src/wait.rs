//! Waiting for something to become true, with a limit that only a broken build reaches.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The limit: generous, because machines are busy.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `check` gives a value.
///
/// # Panics
/// When it does not within [`LIMIT`]; `what` says what was waited for.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} for: {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Waits until `check` is true.
///
/// # Panics
/// As [`until`].
pub fn until_true(what: &str, mut check: impl FnMut() -> bool) {
    until(what, || check().then_some(()));
}
