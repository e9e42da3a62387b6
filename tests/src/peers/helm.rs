//! The real Helm, which renders and installs our charts as it does everybody's.

use std::path::PathBuf;
use std::process::Command;

use super::PeerError;
use super::build::GoProgram;

/// `helm`, with no settings of the user's.
///
/// # Errors
/// When it cannot be built.
pub fn helm() -> Result<Command, PeerError> {
    let mut command = HELM.command()?;
    let nowhere = std::env::temp_dir().join("outrigger-no-helm-home");
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, &nowhere);
    }
    Ok(command)
}

/// The folder of our charts.
#[must_use]
pub fn charts() -> PathBuf {
    super::build::root().join("deploy/charts")
}

pub(super) const HELM: GoProgram = GoProgram { name: "helm", module: "helm", package: "helm.sh/helm/v3/cmd/helm" };
