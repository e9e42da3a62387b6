//! What a policy asks for, with the defaults of what a block leaves out.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::PolicyKind;
use super::written::{BackendSpec, TrafficSpec};
use crate::objects::duration;

/// What a policy asks for; a block that is not there changes nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PolicySpec {
    /// How an endpoint is chosen.
    pub load_balancer: Option<LoadBalancer>,
    /// When an endpoint is left out.
    pub ejection: Option<Ejection>,
    /// What is answered with an error in place of being sent.
    pub limits: Option<Limits>,
    /// How many retries there may be.
    pub retry_budget: Option<RetryBudget>,
    /// What is done to requests on purpose.
    pub fault_injection: Option<FaultInjection>,
    /// A field that is valid, set, and not implemented.
    pub unsupported: Option<&'static str>,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// In which way.
    #[serde(rename = "type")]
    pub kind: LoadBalancerType,
    /// What decides, with `ConsistentHash`.
    pub consistent_hash: Option<ConsistentHash>,
}

/// In which way an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum LoadBalancerType {
    /// The better of two that are drawn.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Drawn.
    Random,
    /// The same one for the same value.
    ConsistentHash,
}

/// What decides under consistent hashing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsistentHash {
    /// Which part of the request.
    #[serde(rename = "type")]
    pub kind: HashType,
    /// The header, with `Header`.
    pub header: Option<Named>,
    /// The cookie, with `Cookie`.
    pub cookie: Option<Named>,
}

/// Which part of a request decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum HashType {
    /// A header.
    Header,
    /// A cookie.
    Cookie,
    /// Who sends it.
    #[serde(rename = "SourceIP")]
    SourceIp,
    /// The path without the query.
    Path,
}

/// Something by its name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// When an endpoint is left out, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ejection {
    /// Errors in a row.
    #[serde(default = "consecutive_errors")]
    pub consecutive_errors: u32,
    /// How long the first ejection lasts.
    #[serde(default = "base_ejection_time", deserialize_with = "duration::required")]
    pub base_ejection_time: Duration,
    /// The longest one.
    #[serde(default = "max_ejection_time", deserialize_with = "duration::required")]
    pub max_ejection_time: Duration,
    /// Of the endpoints at once.
    #[serde(default = "max_ejection_percent")]
    pub max_ejection_percent: u32,
}

/// Limits of each client for each port; what is unset is not limited.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Open connections to each endpoint.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests under way.
    pub max_requests: Option<u32>,
    /// Requests until a connection is replaced.
    pub max_requests_per_connection: Option<u32>,
}

/// How many retries there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    /// Of the requests within the interval.
    pub percent: u32,
    /// How long a request counts.
    pub interval: Duration,
    /// Retries within the interval that are always allowed.
    pub min_retries: u32,
}

/// What is done to requests on purpose.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultInjection {
    /// Requests are held back.
    pub delay: Option<Delay>,
    /// Requests are answered with an error.
    pub abort: Option<Abort>,
}

/// How long which requests are held back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// How long.
    #[serde(deserialize_with = "duration::required")]
    pub fixed_delay: Duration,
    /// Of the requests that match.
    #[serde(default = "all")]
    pub percent: u32,
    /// All must be there.
    #[serde(default)]
    pub headers: Vec<NamedValue>,
}

/// How which requests are answered.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// The status of HTTP.
    pub http_status: Option<u32>,
    /// Or that of gRPC.
    pub grpc_status: Option<u32>,
    /// Of the requests that match.
    #[serde(default = "all")]
    pub percent: u32,
    /// All must be there.
    #[serde(default)]
    pub headers: Vec<NamedValue>,
}

/// A header with its value.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedValue {
    /// The name.
    pub name: String,
    /// The whole value.
    pub value: String,
}

/// Says which block of a spec cannot be read, and why; `None` when it is none of them.
pub(super) fn at_fault(kind: PolicyKind, spec: &Value) -> Option<String> {
    let reads = |alone: &Value| match kind {
        PolicyKind::Traffic => TrafficSpec::deserialize(alone).map(drop),
        PolicyKind::Backend => BackendSpec::deserialize(alone).map(drop),
    };
    spec.as_object()?.iter().find_map(|(block, value)| {
        let unknown = |error: &serde_json::Error| error.to_string().starts_with(&format!("unknown field `{block}`"));
        let mut alone = json!({"targetRefs": []});
        alone[block] = value.clone();
        reads(&alone).err().filter(|error| !unknown(error)).map(|error| format!("spec.{block}: {error}"))
    })
}

fn consecutive_errors() -> u32 {
    5
}

fn base_ejection_time() -> Duration {
    Duration::from_secs(1)
}

fn max_ejection_time() -> Duration {
    Duration::from_secs(60)
}

fn max_ejection_percent() -> u32 {
    50
}

fn all() -> u32 {
    100
}
