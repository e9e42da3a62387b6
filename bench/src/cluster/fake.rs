//! Pods that exist in the API server only.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};

use super::api::{Api, Namespace};

/// A pod that no scheduler takes, and whose kubelet is us.
pub(super) async fn pod(api: &Api, namespace: &Namespace, number: u32) -> Result<()> {
    let name = format!("web-{number}");
    let labels = json!({"app": format!("web-{}", number % SERVICES), "pod-template-hash": "5d4f8c7b9", "outrigger.io/inject": "disabled"});
    let env: Vec<Value> =
        (0..20).map(|number| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(40)})).collect();
    let pod = json!({
        "metadata": {"name": name, "labels": labels, "annotations": {"checksum/config": "0".repeat(64)}},
        "spec": {"schedulerName": "nobody", "containers": [{
            "name": "web", "image": IMAGE, "env": env, "ports": [{"name": "http", "containerPort": 8080}],
        }]},
    });
    api.create(&namespace.of("pods"), &pod).await.map(drop)
}

/// What its kubelet would say.
pub(super) async fn runs(api: &Api, namespace: &Namespace, number: u32) -> Result<()> {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 1)) + number);
    let status = json!({"status": {
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}],
    }});
    api.patch(&namespace.of(&format!("pods/web-{number}/status")), &status).await
}

pub(super) const IMAGE: &str = concat!("outrigger/test-app:", env!("CARGO_PKG_VERSION"));
/// As many Services as there may be among 200 pods.
pub(super) const SERVICES: u32 = 20;
