//! The kinds of the Gateway API, from the Go module that its releases are made of: no internet but the module proxy.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{PeerError, build, finish};
use crate::cluster::{Cluster, succeeds};

/// A folder with the standard channel's custom resources: what `kubectl apply -f` of a release's `standard-install.yaml` makes.
///
/// # Errors
/// When the module cannot be had.
pub fn standard_channel() -> Result<PathBuf, PeerError> {
    let step = "go mod download sigs.k8s.io/gateway-api";
    let module = build::root().join("tests/peers/gateway-api");
    let mut download = Command::new(build::go_for(&module)?);
    download.args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"]);
    download.current_dir(module).env("GOTOOLCHAIN", "local");
    let said = finish(step, &mut download)?;
    let said_json: Value = serde_json::from_str(&said).unwrap_or_default();
    match said_json["Dir"].as_str() {
        Some(folder) => Ok(PathBuf::from(folder).join("config/crd/standard")),
        None => Err(PeerError::Failed { step: step.to_owned(), output: said }),
    }
}

/// The route kinds of the standard channel in a cluster; they go when it is dropped.
#[derive(Debug)]
pub struct Kinds(&'static Cluster);

impl Kinds {
    /// Makes them and waits until the API server serves them.
    ///
    /// # Panics
    /// When the module cannot be had, or the API server refuses.
    #[must_use]
    pub fn installed(cluster: &'static Cluster) -> Self {
        let kinds = Self(cluster);
        let _ = succeeds(&mut kinds.files(cluster.kubectl(["apply", "--server-side"])));
        let _ = succeeds(&mut kinds.files(cluster.kubectl(["wait", "--for=condition=Established", "--timeout=60s"])));
        kinds
    }

    fn files(&self, mut command: Command) -> Command {
        let folder = standard_channel().expect("the module is there");
        for kind in ["httproutes", "grpcroutes", "tlsroutes", "tcproutes"] {
            command.arg("-f").arg(folder.join(format!("gateway.networking.k8s.io_{kind}.yaml")));
        }
        command
    }
}

impl Drop for Kinds {
    fn drop(&mut self) {
        let _ = self.files(self.0.kubectl(["delete", "--ignore-not-found"])).output();
    }
}
