//! The claims, each with the measurement that bears it out. A claim that cannot be measured is not proved.

mod certificates;
mod mutual_tls;
mod retries;
mod route_change;
mod split;
mod trace;

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::Emit;
use super::collector::Collector;
use super::mesh::Mesh;
use crate::event::Step;

pub(super) use certificates::ca;

/// Tries all claims that need the whole mesh, and returns the id of the trace that was drawn.
pub(super) async fn all(mesh: &Mesh, collector: &Collector, emit: &Emit<'_>) -> Option<String> {
    emit.step("identities", certificates::identities(mesh).await);
    emit.step("mtls", mutual_tls::prove(mesh, collector).await);
    let window = split::window(mesh).await;
    emit.step("split", window.as_ref().map(split::proof).map_err(again));
    emit.step("retries", window.as_ref().map(|window| retries::proof(window, collector)).map_err(again));
    emit.step("route-change", route_change::prove(mesh).await);
    let traced = trace::prove(mesh, collector).await;
    let trace_id = traced.as_ref().ok().map(|(_, id)| id.clone());
    emit.step("trace", traced.map(|(proof, _)| proof));
    trace_id
}

/// What was found out about a claim.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proof {
    pub(super) ok: bool,
    pub(super) summary: String,
    pub(super) details: Vec<String>,
    pub(super) values: Value,
}

impl Proof {
    /// It could not be found out.
    pub(super) fn failed(error: anyhow::Error) -> Self {
        let summary = format!("could not be measured: {error:#}");
        Self { ok: false, summary, details: Vec::new(), values: Value::Null }
    }

    pub(super) fn step(self, name: &str) -> Step {
        let Self { ok, summary, details, values } = self;
        Step { name: name.to_owned(), ok, summary, details, values }
    }
}

/// One failure can be the reason of two.
fn again(error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Looks again and again until `look` finds something, or too long; then it returns what it found last.
async fn eventually<T, F: Future<Output = anyhow::Result<Found<T>>>>(look: impl Fn() -> F) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await? {
            Found::Enough(found) => return Ok(found),
            Found::NotYet(found) if Instant::now() > deadline => return Ok(found),
            Found::NotYet(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// What a look found.
enum Found<T> {
    Enough(T),
    NotYet(T),
}

impl<T> Found<T> {
    fn enough_if(enough: bool, found: T) -> Self {
        if enough { Self::Enough(found) } else { Self::NotYet(found) }
    }
}

/// Far more than anything takes, on a machine that is busy with something else, too.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
