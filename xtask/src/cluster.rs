//! `cargo xtask cluster …`: a Kubernetes node for the tests, made of the real programs and started on this machine.
//!
//! The node lives in a network namespace of its own, so that the host's rules and routes stay as they are; what it runs is
//! in one cgroup and what it writes is in one folder, so that `down` finds all of it. `tests/cluster/README.md` has the map.

mod certificates;
mod cgroup;
mod config;
pub(crate) mod conformance;
mod down;
mod go;
mod host;
mod image;
mod images;
mod kubectl;
mod mesh;
mod network;
mod part;
mod peers;
mod places;
mod process;
mod programs;
mod shell;
mod status;
mod up;
mod verify;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

/// `cargo xtask cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the cluster, or the parts of it that do not run.
    Up(up::Args),
    /// Stops the cluster and removes all that it made.
    Down,
    /// Says which parts run and are ready; exit code 1 when one is not.
    Status(status::Args),
    /// A shell, or one command, with KUBECONFIG and PATH set.
    Shell(shell::Args),
    /// Builds the images of the mesh and of the tests, and loads them into the running cluster.
    Images(images::Args),
    /// Proves that pods, DNS and Services work; when it had to start the cluster, that `down` leaves nothing, too.
    Verify,
    /// Builds the programs of the cluster, and starts nothing.
    Build,
}

/// Runs a command on the cluster.
///
/// # Errors
/// When the command fails; the message says at which part.
pub(crate) fn run(args: &Args) -> Result<()> {
    let places = places::Places::new()?;
    match &args.command {
        Command::Up(args) => up::run(&places, args),
        Command::Down => down::run(&places),
        Command::Status(args) => status::run(&places, args),
        Command::Shell(args) => shell::run(&places, args),
        Command::Images(args) => images::run(&places, args),
        Command::Verify => verify::run(&places),
        Command::Build => programs::build_all(&places),
    }
}

/// A program that runs on the cluster's node; without a cluster of ours, here, for the one that `KUBECONFIG` names.
///
/// # Errors
/// When there is no home for a cache.
pub(crate) fn inside(program: &std::path::Path) -> Result<std::process::Command> {
    let places = places::Places::new()?;
    if std::env::var_os("KUBECONFIG").is_some() || !places.kubeconfig().exists() {
        return Ok(std::process::Command::new(program));
    }
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", network::CLUSTER]).arg(program);
    command.env("KUBECONFIG", places.kubeconfig()).env("OUTRIGGER_KUBECTL", places.bin().join("kubectl"));
    Ok(command)
}

/// Starts the cluster with the images of the sources as they are and without a mesh, and returns what tests must be told of it.
///
/// # Errors
/// As of `up` and `images`.
pub(crate) fn for_tests() -> Result<[(&'static str, PathBuf); 3]> {
    let places = places::Places::new()?;
    up::run(&places, &up::Args::default())?;
    images::run(&places, &images::Args::quick())?;
    mesh::uninstall(&places)?;
    Ok([
        ("OUTRIGGER_TEST_KUBECONFIG", places.kubeconfig()),
        ("OUTRIGGER_KUBECTL", places.bin().join("kubectl")),
        ("OUTRIGGER_CLUSTER_NETNS", network::CLUSTER.into()),
    ])
}

/// Whether anything of the cluster runs. What it left when the machine went down does not.
pub(crate) fn is_running() -> bool {
    !cgroup::all_processes().is_empty()
}

/// Stops the cluster and removes all that it made.
///
/// # Errors
/// Names what is left.
pub(crate) fn stop() -> Result<()> {
    down::run(&places::Places::new()?)
}

/// Lets kube-proxy of the running cluster make Services in another way.
///
/// # Errors
/// When it does not come up again.
pub(crate) fn switch_proxy(mode: &str) -> Result<()> {
    up::run(&places::Places::new()?, &up::Args::with_proxy(mode))
}
