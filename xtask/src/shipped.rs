//! Programs as images carry them: static, so that an image needs nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{step, workspace};

/// Builds programs of the packages of the same name, with these features; returns the folder that has them.
///
/// # Errors
/// When one does not build.
pub(crate) fn build(root: &Path, profile: &str, packages: &[&str], features: &[String]) -> Result<PathBuf> {
    let target = host_target(root)?;
    let mut build = workspace::cargo(root);
    build.args(["build", "--quiet", "--profile", profile, "--target", &target]);
    for package in packages {
        build.args(["--package", package, "--bin", package]);
    }
    if !features.is_empty() {
        build.args(["--features", &features.join(",")]);
    }
    // Beats RUSTFLAGS, and counts for the target only: build scripts stay as they are.
    build.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    if !packages.is_empty() {
        step::announce(&format!("building {} with the profile {profile}, static", packages.join(", ")));
        step::run(&mut build)?;
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace::target_dir(root).join(target).join(folder))
}

/// This machine's target, by name: only then are flags for the target no flags for build scripts.
fn host_target(root: &Path) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = step::output(Command::new(rustc).current_dir(root).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
