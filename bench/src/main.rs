//! Outrigger beside other meshes: CPU, latency and memory, measured in one run on one machine. `cargo xtask bench` builds and starts it.
//!
//! One program plays all the parts: it makes the pods (`pods`), starts in each pair what competes there (`contender`), runs
//! itself inside as client (`load`) and as app (`echo`), and reports.

mod cases;
mod cluster;
mod contender;
mod control_plane;
mod cost;
mod data_plane;
mod echo;
mod footprint;
mod histogram;
mod load;
mod memory;
mod plot;
mod pods;
mod process;
mod report;
mod sniff;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "outrigger-bench", about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The request path: direct, Outrigger and Envoy side by side, in network namespaces of their own (root).
    DataPlane(data_plane::Args),
    /// One replica of the control plane below thousands of sidecars.
    ControlPlane(control_plane::Args),
    /// The mesh in a Kubernetes cluster: start of pods, admission, memory of the control plane and of a sidecar.
    Cluster(cluster::Args),
    /// Instructions and allocations of a request, and memory, beside what is recorded in `bench/cost.json` (root).
    Cost(cost::Args),
    /// A sidecar before any request: size, time to ready, memory.
    Footprint(footprint::Args),
    /// The client app.
    #[command(hide = true)]
    Load(load::Args),
    /// The client app, idle.
    #[command(hide = true)]
    Hold(load::HoldArgs),
    /// The server app.
    #[command(hide = true)]
    Echo(echo::Args),
    /// A bare proxy.
    #[command(hide = true)]
    Floor(contender::floor::Args),
    /// The eavesdropper.
    #[command(hide = true)]
    Sniff(sniff::Args),
}

fn main() -> ExitCode {
    let done = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into).and_then(
        |runtime| -> Result<ExitCode> {
            match Args::parse().command {
                Command::DataPlane(args) => runtime.block_on(data_plane::run(&args)),
                Command::ControlPlane(args) => runtime.block_on(control_plane::run(&args)),
                Command::Cluster(args) => runtime.block_on(cluster::run(&args)),
                Command::Cost(args) => runtime.block_on(cost::run(&args)),
                Command::Footprint(args) => runtime.block_on(footprint::run(&args)),
                Command::Load(args) => runtime.block_on(load::run(&args)).map(|()| ExitCode::SUCCESS),
                Command::Hold(args) => runtime.block_on(load::hold(&args)).map(|()| ExitCode::SUCCESS),
                Command::Echo(args) => runtime.block_on(echo::run(&args)).map(|()| ExitCode::SUCCESS),
                Command::Floor(args) => runtime.block_on(contender::floor::run(&args)).map(|()| ExitCode::SUCCESS),
                Command::Sniff(args) => sniff::run(&args).map(|()| ExitCode::SUCCESS),
            }
        },
    );
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// The one way in which the parts tell each other what they found: a line of JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(out.flush()?)
}
