//! The command line: clap types only.

use clap::{Parser, Subcommand};
use outrigger_console::output::Color;
use outrigger_demo::{apps, inside, outer};

use crate::commands::{
    apply, check, completion, explain, graph, inject, install, run, stat, top, uninstall, upgrade, version,
};

/// A lightweight service mesh: mutual TLS, routing, retries and tracing, without application changes.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version = outrigger_daemon::VERSION, disable_help_subcommand = true)]
pub struct Args {
    /// Colours: auto is for a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say nothing on stderr but errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a mesh on this machine, on real traffic, and prove what it does. No root, no Kubernetes.
    Demo(outer::Args),
    /// Run a program as a workload of the mesh that `outrigger demo --keep` runs.
    Run(run::Args),
    /// Install the mesh in a Kubernetes cluster, wait until it is up, and check it.
    Install(install::Args),
    /// Upgrade the mesh to this version, or change its values.
    Upgrade(upgrade::Args),
    /// Remove the mesh from a cluster.
    Uninstall(uninstall::Args),
    /// Give the workloads in manifests their sidecar, as the mesh does when it admits pods.
    Inject(inject::Args),
    /// Apply routes and policies to a cluster, and wait until every sidecar has them in force.
    Apply(apply::Args),
    /// Check the health of a mesh in a cluster or on this machine.
    Check(check::Args),
    /// Show success, rate, latency and mutual TLS of the traffic of workloads, Services, routes or backends.
    Stat(stat::Args),
    /// Show traffic as it happens, the busiest first.
    Top(top::Args),
    /// Show which workloads send to which: as text, DOT, Mermaid or JSON.
    Graph(graph::Args),
    /// Say what an error code means, what causes it and what to do.
    Explain(explain::Args),
    /// Print the version.
    Version(version::Args),
    /// Print a shell's completion script.
    Completion(completion::Args),

    /// The data plane: what the binary `outrigger-sidecar` does.
    #[command(hide = true)]
    Sidecar(Box<outrigger_sidecar::Args>),
    /// What the binary `outrigger-control-plane` does.
    #[command(hide = true)]
    ControlPlane(Box<outrigger_control_plane::Args>),
    /// A program of the demo's shop.
    #[command(hide = true)]
    DemoApp(apps::Args),
    /// The demo's inner process.
    #[command(hide = true)]
    DemoInside(inside::Args),
}
