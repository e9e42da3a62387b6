//! `cargo xtask bench`: builds what ships and hands over to the bench program, which does the measuring.

use anyhow::Result;

use crate::{step, workspace};

/// `cargo xtask bench`; the bench program's own `--help` has the details.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure and how: passed on to the bench program.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, default_value = "--help")]
    rest: Vec<String>,
}

/// Runs the bench program on the binaries that images ship.
///
/// # Errors
/// When something does not build, or a limit is missed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let build = ["build", "--profile", "dist", "--package", "outrigger-cli", "--package", "outrigger-bench"];
    step::announce("building with the dist profile (several minutes the first time)");
    step::run(workspace::cargo(&root).args(build))?;
    let programs = workspace::target_dir(&root).join("dist");
    step::run(
        std::process::Command::new(programs.join("outrigger-bench"))
            .current_dir(&root)
            .args(&args.rest)
            .env("OUTRIGGER_BIN", programs.join("outrigger"))
            .env("OUTRIGGER_BENCH_CACHE", workspace::cache_dir()?),
    )
}
