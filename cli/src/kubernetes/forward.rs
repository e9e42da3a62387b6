//! Pages of a pod's admin port, by port-forward: that port is on no Service, and a NetworkPolicy may stand before it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use outrigger_console::get;
use serde_json::Value;

use super::Cluster;

/// Reads a page of JSON.
pub(crate) async fn page(cluster: &Cluster, pod: &str, port: u16, path: &str) -> anyhow::Result<Value> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let asked = async {
        let mut forwarder = pods.portforward(pod, &[port]).await?;
        let stream = forwarder.take_stream(port).context("the port was not forwarded")?;
        let answer = get::on(stream, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path).await;
        forwarder.abort();
        let (status, body) = answer?;
        anyhow::ensure!(status == 200, "{path}: status {status}");
        serde_json::from_slice(&body).with_context(|| format!("{path}: not the JSON that was expected"))
    };
    tokio::time::timeout(PATIENCE, asked).await.context("no answer")?
}

const PATIENCE: Duration = Duration::from_secs(10);
