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
    let mut flags = vec!["-Ctarget-feature=+crt-static"];
    if starts_with_packed_relocations() {
        flags.push("-Clink-arg=-Wl,-z,pack-relative-relocs");
    }
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if !packages.is_empty() {
        step::announce(&format!("building {} with the profile {profile}, static", packages.join(", ")));
        step::run(&mut build)?;
    }
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace::target_dir(root).join(target).join(folder))
}

/// Says whether the C library that is linked in knows relocations in their short form (DT_RELR, since glibc 2.36): half a MiB
/// less to read at each start, and to keep in memory.
fn starts_with_packed_relocations() -> bool {
    let version = step::output(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    knows_packed_relocations(&version)
}

/// Reads what `getconf` says, such as `glibc 2.36`.
fn knows_packed_relocations(version: &str) -> bool {
    let numbers = version.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    numbers.is_some_and(|(major, minor)| match (major.parse::<u32>(), minor.parse::<u32>()) {
        (Ok(major), Ok(minor)) => (major, minor) >= (2, 36),
        _ => false,
    })
}

/// This machine's target, by name: only then are flags for the target no flags for build scripts.
fn host_target(root: &Path) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = step::output(Command::new(rustc).current_dir(root).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_c_library_that_is_new_enough_gets_packed_relocations() {
        assert!(knows_packed_relocations("glibc 2.36\n") && knows_packed_relocations("glibc 3.0"));
        assert!(
            !knows_packed_relocations("glibc 2.35")
                && !knows_packed_relocations("")
                && !knows_packed_relocations("musl")
        );
    }
}
