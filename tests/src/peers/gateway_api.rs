//! The kinds of the Gateway API, from the Go module that its releases are made of: no internet but the module proxy.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{PeerError, build, finish};

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
