//! The weights of a route, counted by which version answered.

use anyhow::Context as _;
use serde_json::json;

use super::{Found, Proof, eventually};
use crate::apps::{CatalogCounters, LoadCounters};
use crate::inside::mesh::Mesh;
use crate::inside::shop;

/// What everyone counted in one stretch of time.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) load: LoadCounters,
    pub(super) failing: CatalogCounters,
}

/// Counts until [`ENOUGH`] items were answered, and the failing backend has failed: a busy machine may have made it look
/// slow, and a slow one is left alone for some seconds.
pub(super) async fn window(mesh: &Mesh) -> anyhow::Result<Window> {
    count(mesh, ENOUGH, 1).await
}

/// Counts from now until so many items were answered, and so many requests failed at the backend that fails.
pub(super) async fn count(mesh: &Mesh, items: u64, failures: u64) -> anyhow::Result<Window> {
    // From here on as many requests are under way as at the end: none counts twice or not at all.
    settled(mesh).await?;
    let start = now(mesh).await?;
    let window = eventually(|| async {
        mesh.alive()?;
        let window = now(mesh).await?.since(&start);
        Ok(Found::enough_if(window.load.items.ok >= items && window.failing.failed >= failures, window))
    });
    let window = window.await?;
    let (ok, errors) = (window.load.items.ok, window.load.items.errors);
    let why = window.load.last_error.clone().unwrap_or_default();
    anyhow::ensure!(ok >= items, "only {ok} of {items} requests were answered, {errors} failed: {why}");
    Ok(window)
}

/// Nine requests in ten are for v1.
pub(super) fn proof(window: &Window) -> Proof {
    shares(window, BEFORE)
}

/// Compares the asked shares of v1 and v2, in percent, with what was counted.
pub(super) fn shares(window: &Window, asked: (u32, u32)) -> Proof {
    let count = |version| window.load.items.versions.get(version).copied().unwrap_or(0);
    let (v1, v2) = (count("v1"), count("v2"));
    let total = v1 + v2;
    let (measured, tolerance) = (percent(v1, total), tolerance(asked.0, total));
    let errors = window.load.items.errors;
    let near = (measured - f64::from(asked.0)).abs() <= tolerance;
    Proof {
        ok: near && errors == 0 && total > 0,
        summary: format!(
            "{}/{} asked, {measured:.1}/{:.1} measured over {total} requests, {errors} errors",
            asked.0,
            asked.1,
            100.0 - measured
        ),
        details: Vec::new(),
        values: json!({
            "requests": total,
            "errors": errors,
            "skipped": window.load.items.skipped,
            "lastError": window.load.last_error,
            "asked": {"v1": asked.0, "v2": asked.1},
            "counted": {"v1": v1, "v2": v2},
            "measuredPercent": {"v1": measured, "v2": 100.0 - measured},
            "tolerancePercent": tolerance,
        }),
    }
}

/// Waits until the requests that are under way now were answered.
async fn settled(mesh: &Mesh) -> anyhow::Result<()> {
    let start = now(mesh).await?.load.items;
    let answered = eventually(|| async {
        let items = now(mesh).await?.load.items;
        Ok(Found::enough_if(items.ok + items.errors >= start.sent, ()))
    });
    answered.await
}

async fn now(mesh: &Mesh) -> anyhow::Result<Window> {
    let load = mesh.app_page(mesh.member(shop::LOAD)?, "/counters").await.context("the load's counters")?;
    let failing = mesh.app_page(mesh.member(shop::FAILING)?, "/counters").await.context("the catalog's counters")?;
    Ok(Window { load, failing })
}

impl Window {
    fn since(mut self, start: &Self) -> Self {
        let tallies = [(&mut self.load.items, &start.load.items), (&mut self.load.stock, &start.load.stock)];
        for (now, then) in tallies {
            now.sent -= then.sent;
            now.skipped -= then.skipped;
            now.ok -= then.ok;
            now.errors -= then.errors;
            for (version, count) in &mut now.versions {
                *count -= then.versions.get(version).copied().unwrap_or(0);
            }
        }
        if self.load.items.errors + self.load.stock.errors == 0 {
            self.load.last_error = None;
        }
        self.failing.stock -= start.failing.stock;
        self.failing.failed -= start.failing.failed;
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
fn percent(part: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { part as f64 * 100.0 / total as f64 }
}

/// Four standard deviations of fair dice: a right split is refused once in some ten thousand runs.
#[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
fn tolerance(asked: u32, total: u64) -> f64 {
    let share = f64::from(asked) / 100.0;
    4.0 * 100.0 * (share * (1.0 - share) / (total.max(1) as f64)).sqrt()
}

/// In `route-split.yaml`.
pub(super) const BEFORE: (u32, u32) = (90, 10);
const ENOUGH: u64 = 700;

#[cfg(test)]
mod tests {
    use super::*;

    fn window(v1: u64, v2: u64) -> Window {
        let mut load = LoadCounters::default();
        load.items.ok = v1 + v2;
        load.items.versions = [("v1".to_owned(), v1), ("v2".to_owned(), v2)].into();
        Window { load, failing: CatalogCounters::default() }
    }

    #[test]
    fn a_split_is_proved_by_counts_near_the_weights_only() {
        assert!(shares(&window(630, 70), (90, 10)).ok);
        assert!(shares(&window(610, 90), (90, 10)).ok);
        assert!(!shares(&window(560, 140), (90, 10)).ok);
        assert!(!shares(&window(0, 0), (90, 10)).ok);
    }

    #[test]
    fn a_failed_request_spoils_the_proof() {
        let mut window = window(630, 70);
        window.load.items.errors = 1;
        assert!(!shares(&window, (90, 10)).ok);
    }

    #[test]
    fn counts_only_what_happened_since_the_start() {
        let start = window(100, 10);
        let window = window(190, 20).since(&start);
        assert_eq!(window.load.items.versions["v1"], 90);
        assert_eq!(window.load.items.ok, 100);
    }
}
