//! Both kinds as they stand in YAML. Unknown fields are errors.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::spec::{Ejection, FaultInjection, Limits, LoadBalancer, PolicySpec, RetryBudget};
use super::{PolicyKind, TargetRef, TrafficPolicy};
use crate::objects::{Metadata, duration};

/// A TrafficPolicy.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenTraffic(Written<TrafficSpec>);

/// An XBackendTrafficPolicy.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::objects) struct WrittenBackend(Written<BackendSpec>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Metadata,
    spec: S,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TrafficSpec {
    target_refs: Vec<TargetRef>,
    load_balancer: Option<LoadBalancer>,
    ejection: Option<Ejection>,
    limits: Option<Limits>,
    retry_budget: Option<WrittenBudget>,
    fault_injection: Option<FaultInjection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenBudget {
    #[serde(default = "percent")]
    percent: u32,
    #[serde(default = "interval", deserialize_with = "duration::required")]
    interval: Duration,
    #[serde(default = "count")]
    min_retries_per_second: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackendSpec {
    target_refs: Vec<TargetRef>,
    retry_constraint: Option<RetryConstraint>,
    session_persistence: Option<IgnoredAny>,
}

/// GEP-3388.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryConstraint {
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    min_retry_rate: Rate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    #[serde(default = "percent")]
    percent: u32,
    #[serde(default = "interval", deserialize_with = "duration::required")]
    interval: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    #[serde(default = "count")]
    count: u32,
    #[serde(default = "second", deserialize_with = "duration::required")]
    interval: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { percent: percent(), interval: interval() }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self { count: count(), interval: second() }
    }
}

impl From<WrittenTraffic> for TrafficPolicy {
    fn from(WrittenTraffic(Written { metadata, spec, .. }): WrittenTraffic) -> Self {
        let budget = |budget: WrittenBudget| RetryBudget {
            percent: budget.percent,
            interval: budget.interval,
            min_retries: within(budget.interval, budget.min_retries_per_second, second()),
        };
        let asked = PolicySpec {
            load_balancer: spec.load_balancer,
            ejection: spec.ejection,
            limits: spec.limits,
            retry_budget: spec.retry_budget.map(budget),
            fault_injection: spec.fault_injection,
            unsupported: None,
        };
        Self { meta: metadata, kind: PolicyKind::Traffic, targets: spec.target_refs, spec: Ok(asked) }
    }
}

impl From<WrittenBackend> for TrafficPolicy {
    fn from(WrittenBackend(Written { metadata, spec, .. }): WrittenBackend) -> Self {
        let budget = |RetryConstraint { budget, min_retry_rate }: RetryConstraint| RetryBudget {
            percent: budget.percent,
            interval: budget.interval,
            min_retries: within(budget.interval, min_retry_rate.count, min_retry_rate.interval),
        };
        let asked = PolicySpec {
            retry_budget: spec.retry_constraint.map(budget),
            unsupported: spec.session_persistence.map(|_| "spec.sessionPersistence"),
            ..PolicySpec::default()
        };
        Self { meta: metadata, kind: PolicyKind::Backend, targets: spec.target_refs, spec: Ok(asked) }
    }
}

/// How many there are within `interval` at `count` in each `each`; a part of one counts as one.
fn within(interval: Duration, count: u32, each: Duration) -> u32 {
    let each = each.as_millis().max(1);
    u32::try_from((interval.as_millis() * u128::from(count)).div_ceil(each)).unwrap_or(u32::MAX)
}

fn percent() -> u32 {
    20
}

fn interval() -> Duration {
    Duration::from_secs(10)
}

fn count() -> u32 {
    10
}

fn second() -> Duration {
    Duration::from_secs(1)
}
