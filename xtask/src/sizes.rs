//! `cargo xtask sizes`: what the shipped sidecar weighs.

use anyhow::Result;

use crate::bench;

/// `cargo xtask sizes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build profile to measure; images ship `dist`.
    #[arg(long, default_value = "dist")]
    profile: String,
}

/// Measures the sidecar's file, its time to ready and its idle memory.
///
/// # Errors
/// When a limit is missed.
pub(crate) fn run(args: &Args) -> Result<()> {
    bench::run(&bench::Args { profile: args.profile.clone(), rest: vec!["footprint".to_owned()] })
}
