//! `cargo xtask bench`: builds what ships and hands over to the bench program, which does the measuring.

use std::process::Command;

use anyhow::Result;

use crate::{cluster, step, workspace};

/// `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The build profile of the sidecar that is measured; images ship `dist`.
    #[arg(long, default_value = "dist")]
    pub(crate) profile: String,
    /// What to measure and how, such as `data-plane --quick` or, in the test cluster with the mesh installed, `cluster`: passed on to the bench program; `-- --help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, default_value = "--help")]
    pub(crate) rest: Vec<String>,
}

/// Runs the bench program on the binaries that images ship.
///
/// # Errors
/// When something does not build, or a limit is missed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let build = |profile: &str, packages: &[&str]| {
        step::announce(&format!("building {} with the profile {profile}", packages.join(" and ")));
        let packages = packages.iter().flat_map(|package| ["--package", package]);
        step::run(workspace::cargo(&root).args(["build", "--quiet", "--bins", "--profile", profile]).args(packages))
    };
    build("release", &["outrigger-control-plane", "outrigger-bench"])?;
    build(&args.profile, &["outrigger-sidecar"])?;
    let built = |profile: &str, program: &str| {
        let folder = if profile == "dev" { "debug" } else { profile };
        workspace::target_dir(&root).join(folder).join(program)
    };
    // Services and pods have addresses in the cluster's network only.
    let bench = built("release", "outrigger-bench");
    let mut bench = if args.rest.first().is_some_and(|part| part == "cluster") {
        cluster::inside(&bench)?
    } else {
        Command::new(bench)
    };
    step::run(
        bench
            .current_dir(&root)
            .args(&args.rest)
            .env("OUTRIGGER_SIDECAR_BIN", built(&args.profile, "outrigger-sidecar"))
            .env("OUTRIGGER_CONTROL_PLANE_BIN", built("release", "outrigger-control-plane"))
            .env("OUTRIGGER_BENCH_CACHE", workspace::cache_dir()?),
    )
}
