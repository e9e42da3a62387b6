//! The mesh in the cluster, as a user installs it: by `outrigger` of these sources.

use std::process::Command;

use anyhow::Result;

use super::places::Places;
use super::process;
use crate::{step, workspace};

/// Installs the mesh.
///
/// # Errors
/// With what `outrigger install` says.
pub(super) fn install(places: &Places) -> Result<()> {
    process::quiet(outrigger(places)?.args(["install", "--set", "image.pullPolicy=Never"]))
}

/// Removes the mesh, if there is one. Tests begin without: the same tag may be another image by now, and a second control
/// plane writes into the same objects.
///
/// # Errors
/// With what `outrigger uninstall` says.
pub(super) fn uninstall(places: &Places) -> Result<()> {
    process::quiet(outrigger(places)?.args(["uninstall", "--force"]))
}

fn outrigger(places: &Places) -> Result<Command> {
    let root = places.repository();
    // As `cargo xtask test` builds: another choice of packages would be other features, and everything built twice.
    let everything = ["build", "--quiet", "--workspace", "--all-targets", "--all-features"];
    step::run(workspace::cargo(root).args(everything))?;
    let mut outrigger = Command::new(workspace::target_dir(root).join("debug/outrigger"));
    outrigger.env("KUBECONFIG", places.kubeconfig());
    Ok(outrigger)
}
