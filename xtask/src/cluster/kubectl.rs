//! kubectl, with the cluster's kubeconfig.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::places::Places;
use super::{process, programs};

/// kubectl as the administrator.
pub(super) fn kubectl(places: &Places, args: &[&str]) -> Command {
    let mut kubectl = Command::new(programs::path(places, &programs::KUBECTL));
    kubectl.arg("--kubeconfig").arg(places.run().join("admin.kubeconfig"));
    // Not among the user's own files.
    kubectl.arg("--cache-dir").arg(places.run().join("kubectl-cache")).args(args);
    kubectl
}

/// Runs it quietly.
///
/// # Errors
/// With what it says.
pub(super) fn run(places: &Places, args: &[&str]) -> Result<()> {
    process::quiet(&mut kubectl(places, args))
}

/// What it prints, or nothing when it fails.
pub(super) fn ask(places: &Places, args: &[&str]) -> String {
    let output = kubectl(places, args).stdin(std::process::Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Asks again and again until it prints something that will do.
///
/// # Errors
/// When the time is up.
pub(super) fn wait(places: &Places, what: &str, args: &[&str], done: impl Fn(&str) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        let said = ask(places, args);
        if done(&said) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("{what}: not in {} s; `kubectl {}` says {said:?}", PATIENCE.as_secs(), args.join(" "));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

const PATIENCE: Duration = Duration::from_secs(90);
