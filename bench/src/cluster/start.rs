//! From the creation of a pod to the start of its application, which tells the moment itself: uninjected, injected, and with
//! two containers of nothing in the place of ours, which is what Kubernetes takes for them.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::api::{Api, Namespace, PATIENCE};
use super::{Figure, median};

/// Times pods of each kind, one after the other, by turns.
pub(super) async fn measure(api: &Api, namespace: &Namespace, pods: usize) -> Result<Vec<Figure>> {
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..pods {
        for (kind, took) in KINDS.into_iter().zip(&mut took) {
            let name = format!("{}-{round}", kind.name());
            let millis = time(api, namespace, &name, kind).await.with_context(|| format!("pod {name}"))?;
            eprintln!("{name}: its application starts after {millis:.0} ms");
            took.push(millis);
        }
    }
    let [plain, injected, floor] = took.map(|mut took| median(&mut took));
    Ok(vec![
        Figure::told("application starts after, uninjected (median)", plain, "ms"),
        Figure::told("application starts after, injected (median)", injected, "ms"),
        Figure::limited("injected later than uninjected", injected - plain, "ms", LIMIT),
        Figure::told("later with two containers that do nothing", floor - plain, "ms"),
    ])
}

/// What a pod has besides its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Injected,
    /// An init container and a native sidecar that is ready at once.
    Floor,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Injected => "injected",
            Self::Floor => "floor",
        }
    }
}

async fn time(api: &Api, namespace: &Namespace, name: &str, kind: Kind) -> Result<f64> {
    let pod = pod(name, kind);
    let created = SystemTime::now();
    let begin = Instant::now();
    let created_pod = api.create(&namespace.of("pods"), &pod).await?;
    let inits = created_pod["spec"]["initContainers"].as_array().map_or(0, Vec::len);
    ensure!((inits == 0) == (kind == Kind::Plain), "it has {inits} init containers: is the mesh installed?");
    let log = namespace.of(&format!("pods/{name}/log?container=app"));
    let started = loop {
        ensure!(begin.elapsed() < PATIENCE, "its application has not started in {PATIENCE:?}");
        let said = api.text(&log).await?;
        if let Some(line) = said.lines().next() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("the application says {line}"))?;
            break line["startedUnixMs"].as_f64().context("no time")?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let path = namespace.of(&format!("pods/{name}"));
    api.delete(&path).await?;
    // Its end must not slow down the next.
    tokio::time::sleep(SETTLE).await;
    Ok(started - created.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() * 1e3)
}

/// A pod whose application tells when it started.
fn pod(name: &str, kind: Kind) -> Value {
    let container =
        |name: &str, mode: &str| json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "args": [mode]});
    let mut pod = json!({
        "metadata": {"name": name, "labels": {}},
        "spec": {"containers": [container("app", "start")], "terminationGracePeriodSeconds": 1},
    });
    match kind {
        Kind::Plain => {}
        Kind::Injected => pod["metadata"]["labels"] = json!({"outrigger.io/inject": "enabled"}),
        Kind::Floor => {
            let mut sidecar = container("sidecar", "start");
            sidecar["restartPolicy"] = json!("Always");
            pod["spec"]["initContainers"] = json!([container("init", "job"), sidecar]);
        }
    }
    pod
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Injected, Kind::Floor];
const IMAGE: &str = concat!("outrigger/test-app:", env!("CARGO_PKG_VERSION"));
const LIMIT: f64 = 500.0;
const SETTLE: Duration = Duration::from_millis(1500);
