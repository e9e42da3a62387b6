//! How long each test took, from what libtest prints: the moments at which tests end.
//!
//! Stable libtest prints no times. But it starts tests in the order of their names, so many at once, and the next one
//! whenever one ends: the ends tell the beginnings, too.

use std::time::{Duration, Instant};

/// A test, and how long it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) time: Duration,
    pub(crate) test: String,
}

/// Reads the output of test binaries that run one after another.
#[derive(Debug)]
pub(crate) struct Clock {
    at_once: usize,
    /// When a binary began, and how many tests it has.
    began: Option<(Instant, usize)>,
    ended: Vec<(String, Instant)>,
    took: Vec<Took>,
}

impl Clock {
    /// For binaries that run so many tests at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, began: None, ended: Vec::new(), took: Vec::new() }
    }

    /// Takes note of a line that came just now.
    pub(crate) fn read_line(&mut self, line: &str, now: Instant) {
        let line = line.trim_end();
        if let Some(tests) = number_of_tests(line) {
            self.began = Some((now, tests));
            self.ended.clear();
        } else if let Some((test, _)) = line.strip_prefix("test ").and_then(|line| line.split_once(" ... ")) {
            self.ended.push((test.to_owned(), now));
        } else if line.starts_with("test result: ") {
            self.binary_ended();
        }
    }

    /// What all tests took.
    pub(crate) fn took(self) -> Vec<Took> {
        self.took
    }

    fn binary_ended(&mut self) {
        let Some((began, tests)) = self.began.take() else { return };
        // One whose line was lost in a program's output stands for others that would get a wrong time.
        if self.ended.len() != tests {
            return;
        }
        let ends: Vec<Instant> = self.ended.iter().map(|(_, end)| *end).collect();
        let mut by_name = std::mem::take(&mut self.ended);
        by_name.sort();
        for (place, (test, end)) in by_name.into_iter().enumerate() {
            let start = place.checked_sub(self.at_once).map_or(began, |free| ends[free]);
            self.took.push(Took { time: end.saturating_duration_since(start), test });
        }
    }
}

/// 5 of `running 5 tests`.
fn number_of_tests(line: &str) -> Option<usize> {
    let (number, word) = line.strip_prefix("running ")?.split_once(' ')?;
    matches!(word, "test" | "tests").then(|| number.parse().ok())?
}

/// The slowest tests, one a line.
pub(crate) fn slowest(mut took: Vec<Took>) -> String {
    took.sort_by_key(|took| std::cmp::Reverse(took.time));
    let line = |took: &Took| format!("  {:>7.1} s  {}\n", took.time.as_secs_f64(), took.test);
    took.iter().take(SHOWN).map(line).collect()
}

/// Enough to see where time goes.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What each test took when lines come at these seconds.
    fn read(at_once: usize, lines: &[(u64, &str)]) -> Vec<(String, u64)> {
        let start = Instant::now();
        let mut clock = Clock::new(at_once);
        for (second, line) in lines {
            clock.read_line(line, start + Duration::from_secs(*second));
        }
        clock.took().into_iter().map(|took| (took.test, took.time.as_secs())).collect()
    }

    #[test]
    fn a_test_begins_when_one_of_those_before_it_ends() {
        // Two at once: a and b begin, c when b ends, d when c ends, e when a ends.
        let took = read(
            2,
            &[
                (10, "running 5 tests"),
                (12, "test b ... ok"),
                (15, "test c ... \u{1b}[32mok\u{1b}[0m"),
                (30, "test a ... FAILED"),
                (31, "test d - should panic ... ok"),
                (31, "test e ... ignored, for a reason"),
                (31, "test result: FAILED. 3 passed; 1 failed; 1 ignored"),
            ],
        );

        let expected = [("a", 20), ("b", 2), ("c", 3), ("d - should panic", 16), ("e", 1)];
        assert_eq!(took, expected.map(|(test, seconds)| (test.to_owned(), seconds)));
    }

    #[test]
    fn binaries_begin_anew_and_one_with_lost_lines_counts_for_nothing() {
        let took = read(
            1,
            &[
                (0, "running 2 tests"),
                (5, "test broke_off ... ok"),
                (20, "running 2 tests"),
                (22, "test known ... ok"),
                (23, "a program's line without an end: test lost ... ok"),
                (24, "test result: ok. 2 passed"),
                (50, "running 1 test"),
                (52, "test a ... ok"),
                (52, "test a has been running for over 60 seconds"),
                (53, "test result: ok. 1 passed"),
            ],
        );

        assert_eq!(took, [("a".to_owned(), 2)]);
    }

    #[test]
    fn the_slowest_come_first_and_only_some_are_shown() {
        let took = |seconds| Took { time: Duration::from_secs(seconds), test: format!("t{seconds}") };

        let shown = slowest((1..=12).map(took).collect());

        assert_eq!(shown.lines().count(), 10);
        assert!(shown.starts_with("     12.0 s  t12\n") && shown.ends_with("      3.0 s  t3\n"), "{shown}");
    }
}
