//! `cargo xtask bench`: builds what ships and hands over to the bench program, which does the measuring.

use std::process::Command;

use anyhow::Result;

use crate::{cluster, debian, shipped, step, workspace};

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

/// Runs the bench program on the sidecar as images carry it.
///
/// # Errors
/// When something does not build, or a limit is missed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    match args.rest.first().map(String::as_str) {
        Some("cost") => debian::install(debian::FOR_COST)?,
        Some("data-plane") => debian::install(debian::FOR_DATA_PLANE)?,
        _ => {}
    }
    let tools = ["outrigger-control-plane", "outrigger-bench"];
    step::announce(&format!("building {}", tools.join(" and ")));
    let packages = tools.iter().flat_map(|package| ["--package", package]);
    step::run(workspace::cargo(&root).args(["build", "--quiet", "--bins", "--release"]).args(packages))?;
    let tool = |name: &str| workspace::target_dir(&root).join("release").join(name);
    let sidecar = shipped::build(&root, &args.profile, &["outrigger-sidecar"], &[])?.join("outrigger-sidecar");
    // Services and pods have addresses in the cluster's network only.
    let bench = tool("outrigger-bench");
    let mut bench = if args.rest.first().is_some_and(|part| part == "cluster") {
        cluster::inside(&bench)?
    } else {
        Command::new(bench)
    };
    step::run(
        bench
            .current_dir(&root)
            .args(&args.rest)
            .env("OUTRIGGER_SIDECAR_BIN", sidecar)
            .env("OUTRIGGER_CONTROL_PLANE_BIN", tool("outrigger-control-plane"))
            .env("OUTRIGGER_BENCH_CACHE", workspace::cache_dir()?),
    )
}
