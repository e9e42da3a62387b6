//! `cargo xtask sizes`: what the shipped sidecar weighs.

use anyhow::{Context as _, Result, ensure};

use crate::{step, workspace};

/// The stripped sidecar is at most this large.
const LIMIT_MIB: f64 = 12.0;

/// `cargo xtask sizes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build profile to measure.
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// Builds the sidecar as images ship it, and compares its size with the limit.
///
/// # Errors
/// When it is larger than the limit.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    step::announce(&format!("building the sidecar with the profile {}", args.profile));
    let build = ["build", "--quiet", "--package", "outrigger-sidecar", "--bins", "--profile"];
    step::run(workspace::cargo(&root).args(build).arg(&args.profile))?;
    let program = workspace::target_dir(&root).join(&args.profile).join("outrigger-sidecar");
    let bytes = std::fs::metadata(&program).with_context(|| format!("no binary {}", program.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "a size in MiB, to one decimal")]
    let mib = bytes as f64 / f64::from(1 << 20);
    eprintln!("outrigger-sidecar: {mib:.1} MiB (limit {LIMIT_MIB} MiB)");
    ensure!(mib <= LIMIT_MIB, "the sidecar is {mib:.1} MiB, more than {LIMIT_MIB} MiB");
    Ok(())
}
