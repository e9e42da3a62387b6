//! Why a reference in a route is not in force: a reason of the Gateway API, and words for people.

use std::fmt;

/// A reference that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A condition's reason, in the words of the Gateway API where it has one.
    pub(crate) reason: &'static str,
    /// What is wrong.
    pub(crate) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}
