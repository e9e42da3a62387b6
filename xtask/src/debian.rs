//! The programs from outside that tests run against: installed when we may, named when we may not.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{step, workspace};

/// A program and the Debian (and Ubuntu) package that has it.
type Needed = (&'static str, &'static str);

/// What the end-to-end tests run against, besides what cargo builds.
pub(crate) const FOR_TESTS: &[Needed] = &[
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("nghttp", "nghttp2-client"),
    ("h2load", "nghttp2-client"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("go", "golang-go"),
];

/// Sees to it that every program is there.
///
/// # Errors
/// Says what to install, when a program is missing and we are not root on Debian or Ubuntu, or the installation fails.
pub(crate) fn install(needed: &[Needed]) -> Result<()> {
    let missing = missing(needed, workspace::on_path);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !workspace::is_root() || !workspace::on_path("apt-get") {
        bail!("programs that the tests need are missing; install them: apt-get install {packages}");
    }
    step::announce(&format!("installing {packages}"));
    // The lists of a fresh machine are empty or old; on one that has them, the first try saves the download.
    if step::run(apt().args(["install", "--no-install-recommends"]).args(&missing)).is_err() {
        step::run(apt().arg("update"))?;
        step::run(apt().args(["install", "--no-install-recommends"]).args(&missing))?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0"]).env("DEBIAN_FRONTEND", "noninteractive");
    // Services that a package would start have no place in a test machine; policy-rc.d is not ours to write.
    command.env("RUNLEVEL", "1");
    command
}

/// The packages of the programs that are not there, each once.
fn missing(needed: &[Needed], present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        needed.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_missing_package_once() {
        let needed = [("nghttp", "nghttp2-client"), ("curl", "curl"), ("h2load", "nghttp2-client")];

        let packages = missing(&needed, |program| program == "curl");

        assert_eq!(packages, ["nghttp2-client"]);
    }
}
