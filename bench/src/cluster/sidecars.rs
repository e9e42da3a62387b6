//! Sidecars for pods that exist in the API server only: real ones, on this machine, without capture.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::api::{Api, Namespace, PATIENCE};
use crate::data_plane::Folder;

/// Running sidecars; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Sidecars {
    running: Vec<Child>,
    folder: Folder,
    outbounds: Vec<SocketAddr>,
}

impl Sidecars {
    /// Starts one for each of the first pods, its outbound listener leading to `destination`, and waits until all have their
    /// configuration.
    pub(super) async fn start(api: &Api, namespace: &Namespace, count: u32, destination: &str) -> Result<Self> {
        let program = std::env::var_os("OUTRIGGER_SIDECAR_BIN").context("OUTRIGGER_SIDECAR_BIN is not set")?;
        let folder = Folder::make()?;
        let anchors = api.get("/api/v1/namespaces/outrigger-system/configmaps/outrigger-trust-bundle").await?;
        let anchors = anchors["data"]["root.pem"].as_str().context("the trust bundle has no root.pem")?.to_owned();
        let service = api.get("/api/v1/namespaces/outrigger-system/services/outrigger-control-plane").await?;
        let address = service["spec"]["clusterIP"].as_str().context("the control plane has no address")?.to_owned();
        let (mut running, mut outbounds) = (Vec::new(), Vec::new());
        for number in 0..count {
            let name = format!("web-{number}");
            let token = folder.path().join(&name);
            std::fs::write(&token, Self::token(api, namespace, &name).await?)?;
            let state = folder.path().join(format!("{name}.state"));
            let mut sidecar = Command::new(&program);
            sidecar.arg("run").env_clear().kill_on_drop(true).stdin(Stdio::null());
            sidecar.stdout(Stdio::null()).stderr(Stdio::null());
            sidecar.arg("--workload").arg(format!("{}/{name}", namespace.name));
            sidecar.arg("--control-plane").arg(format!("{address}:4180"));
            // With `=`, for it begins with a dash.
            sidecar.arg(format!("--trust-anchors-pem={anchors}"));
            sidecar.arg("--token-file").arg(&token).arg("--state-dir").arg(&state);
            let outbound = free_address()?;
            sidecar.args(["--admin", "127.0.0.1:0", "--outbound", &format!("{outbound}={destination}")]);
            outbounds.push(outbound);
            running.push(sidecar.spawn().context("start a sidecar")?);
            // The control plane takes ten requests a second from one address.
            sleep(Duration::from_millis(120)).await;
        }
        let mut sidecars = Self { running, folder, outbounds };
        let begin = Instant::now();
        // Each that has its configuration has saved it.
        while !(0..count).all(|number| sidecars.configured(number)) {
            for sidecar in &mut sidecars.running {
                let ended = sidecar.try_wait().context("look after a sidecar")?;
                ensure!(ended.is_none(), "a sidecar has ended: {ended:?}");
            }
            ensure!(begin.elapsed() < PATIENCE, "not all of {count} sidecars have their configuration");
            sleep(Duration::from_millis(500)).await;
        }
        Ok(sidecars)
    }

    /// Where each takes what its application sends.
    pub(super) fn outbounds(&self) -> &[SocketAddr] {
        &self.outbounds
    }

    fn configured(&self, number: u32) -> bool {
        self.folder.path().join(format!("web-{number}.state/resources")).exists()
    }

    async fn token(api: &Api, namespace: &Namespace, pod: &str) -> Result<String> {
        let request = json!({"spec": {
            "audiences": ["outrigger"], "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod},
        }});
        let answer = api.create(&namespace.of("serviceaccounts/default/token"), &request).await?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
    }
}

/// An address that nobody listens on: the sidecar needs one that is known before it starts.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?)
}
