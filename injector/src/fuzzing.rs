//! What the fuzz targets drive of this crate. No logic of its own.

use serde_json::Value;

use crate::{ProbeSecret, Settings};

/// The answer to a review; `None`: it is none.
#[must_use]
pub fn review(question: &Value, settings: &Settings, secret: &ProbeSecret) -> Option<Value> {
    crate::review::review(question, settings, secret).ok().map(|decision| decision.response)
}
