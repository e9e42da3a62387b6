//! What a RequestMirror filter asks for: where copies go, and of how many requests.

use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Deserializer};

use super::BackendRef;

/// Copies requests to another Service: all of them when neither `percent` nor `fraction` is set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// Where to; its weight and filters mean nothing.
    #[serde(deserialize_with = "reference")]
    pub backend_ref: BackendRef,
    /// Of a hundred requests.
    pub percent: Option<u32>,
    /// Of any number of requests.
    pub fraction: Option<Fraction>,
}

/// A share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fraction {
    /// How many.
    pub numerator: u32,
    /// Of how many.
    #[serde(default = "hundred")]
    pub denominator: NonZeroU32,
}

/// A reference without a weight.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectRef {
    #[serde(default)]
    group: String,
    #[serde(default = "super::backend::service")]
    kind: String,
    namespace: Option<String>,
    name: String,
    port: Option<NonZeroU16>,
}

fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BackendRef, D::Error> {
    let ObjectRef { group, kind, namespace, name, port } = ObjectRef::deserialize(deserializer)?;
    Ok(BackendRef { group, kind, namespace, name, port, weight: 1, filters: Vec::new() })
}

fn hundred() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(99)
}
