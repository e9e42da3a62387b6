//! Memory, as the kernel counts it: of a sidecar in a pod, and of the control plane as pods come, each with its sidecar.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Figure;
use super::api::{Api, Namespace, PATIENCE};
use super::fake::{self, SERVICES};
use super::sidecars::Sidecars;
use crate::process::Pid;
use crate::report::mib;

/// What a sidecar asks for, and what it takes when nothing happens.
pub(super) async fn sidecar(api: &Api, namespace: &Namespace) -> Result<Vec<Figure>> {
    let pod = json!({
        "metadata": {"name": "idle", "labels": {"outrigger.io/inject": "enabled"}},
        "spec": {"containers": [
            {"name": "app", "image": fake::IMAGE, "imagePullPolicy": "Never", "args": ["start"]},
        ]},
    });
    let pod = api.create(&namespace.of("pods"), &pod).await?;
    let inits = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    let sidecar = inits.into_iter().find(|container| container["name"] == SIDECAR).context("the pod has no sidecar")?;
    let requests = &sidecar["resources"]["requests"];
    let asked = |name: &str, unit: &str| {
        let text = requests[name].as_str().unwrap_or_default();
        let number = text.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok());
        number.with_context(|| format!("the sidecar's request of {name} is {text:?}"))
    };
    let (cpu, memory) = (asked("cpu", "m")?, asked("memory", "Mi")?);

    let begin = Instant::now();
    let path = namespace.of("pods/idle");
    let id = loop {
        ensure!(begin.elapsed() < PATIENCE, "the pod with a sidecar does not start");
        let pod = api.get(&path).await?;
        if pod["status"]["phase"] == "Running"
            && let Some(id) = container_id(&pod, SIDECAR)
        {
            break id;
        }
        sleep(Duration::from_millis(100)).await;
    };
    sleep(IDLE).await;
    let resident = of_container(&id)?.memory()?.resident_kib;
    api.delete(&path).await?;
    Ok(vec![
        Figure::limited("sidecar: CPU that it asks for", cpu, "m", 10.0),
        Figure::limited("sidecar: memory that it asks for", memory, "MiB", 16.0),
        Figure::limited("sidecar: memory when idle (RSS)", mib(resident), "MiB", 16.0),
    ])
}

/// The control plane's memory before, with 200 pods and their sidecars, and with 1,000 pods more.
pub(super) async fn control_plane(api: &Api, namespace: &Namespace) -> Result<Vec<Figure>> {
    let resident = async || {
        sleep(SETTLE).await;
        let pods = api.get("/api/v1/namespaces/outrigger-system/pods").await?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let mut most = 0;
        for id in pods.filter_map(|pod| container_id(pod, CONTROL_PLANE)) {
            most = most.max(of_container(&id)?.memory()?.resident_kib);
        }
        ensure!(most > 0, "no pod of outrigger-system has a container {CONTROL_PLANE}: install the mesh first");
        Ok(mib(most))
    };
    let before = resident().await?;
    services(api, namespace).await?;
    for number in 0..PODS {
        fake::pod(api, namespace, number).await?;
    }
    // Before the pods have addresses: from an address that is not the pod's no certificate can be had, and all of these
    // sidecars come from this machine.
    let sidecars = Sidecars::start(api, namespace, PODS, NOWHERE).await?;
    for number in 0..PODS {
        fake::runs(api, namespace, number).await?;
    }
    let with_pods = resident().await?;
    drop(sidecars);
    let without_sidecars = resident().await?;
    for number in PODS..PODS + MORE {
        fake::pod(api, namespace, number).await?;
        fake::runs(api, namespace, number).await?;
    }
    let with_more = resident().await?;
    Ok(vec![
        Figure::told("control plane: memory (RSS) before", before, "MiB"),
        Figure::limited("control plane: with 200 pods and their sidecars", with_pods, "MiB", 40.0),
        Figure::told("control plane: after the sidecars have gone", without_sidecars, "MiB"),
        Figure::told("control plane: with 1,000 pods more, for these", with_more - without_sidecars, "MiB"),
    ])
}

/// As many Services as there may be among 200 pods; Kubernetes makes their EndpointSlices.
pub(super) async fn services(api: &Api, namespace: &Namespace) -> Result<()> {
    for number in 0..SERVICES {
        let service = json!({
            "metadata": {"name": format!("web-{number}")},
            "spec": {"selector": {"app": format!("web-{number}")}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        });
        api.create(&namespace.of("services"), &service).await?;
    }
    Ok(())
}

pub(super) fn container_id(pod: &Value, name: &str) -> Option<String> {
    let status = &pod["status"];
    let all = [&status["containerStatuses"], &status["initContainerStatuses"]];
    let mut all = all.into_iter().filter_map(Value::as_array).flatten();
    let id = all.find(|container| container["name"] == name)?["containerID"].as_str()?;
    Some(id.rsplit('/').next()?.to_owned())
}

/// The process of a container, found by its control group.
pub(super) fn of_container(id: &str) -> Result<Pid> {
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
        if groups.is_ok_and(|groups| groups.contains(id)) {
            return Ok(Pid(pid));
        }
    }
    anyhow::bail!("no process of container {id}: run this on the machine that is the cluster's node")
}

const SIDECAR: &str = "outrigger-sidecar";
pub(super) const CONTROL_PLANE: &str = "control-plane";
const PODS: u32 = 200;
const MORE: u32 = 1000;
/// What their outbound listeners would lead to.
const NOWHERE: &str = "127.0.0.1:1";
/// Until what starting took has been given back.
const IDLE: Duration = Duration::from_secs(5);
/// Until all changes are in a snapshot and with the sidecars.
const SETTLE: Duration = Duration::from_secs(5);
