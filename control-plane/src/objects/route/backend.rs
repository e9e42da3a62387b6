//! Where a rule sends requests, as written; whether it exists is found out later.

use std::num::NonZeroU16;

use serde::Deserialize;

use super::Filter;

/// A weighted reference to a Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendRef {
    /// API group, empty when unset.
    #[serde(default)]
    pub group: String,
    /// Kind, Service when unset.
    #[serde(default = "service")]
    pub kind: String,
    /// The route's own namespace when unset.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// The service's port; a Service needs it.
    pub port: Option<NonZeroU16>,
    /// Share of requests: weight / sum of weights.
    #[serde(default = "one")]
    pub weight: u32,
    /// Applied only to requests of this backend.
    #[serde(default)]
    pub filters: Vec<Filter>,
}

impl BackendRef {
    /// Says whether it names a Service, with `core` as another word for the empty group.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.group.as_str(), "" | "core") && self.kind == "Service"
    }
}

pub(super) fn service() -> String {
    "Service".to_owned()
}

fn one() -> u32 {
    1
}
