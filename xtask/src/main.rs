//! `cargo xtask …`: the front door for whoever works on Outrigger. Nothing to install first.
//!
//! One module a command. It links none of the product, so that it compiles in seconds; what needs the product's types
//! (the reference pages) is a small program of its own in `xtask/docs`.

mod advisories;
mod attack;
mod bench;
mod check;
mod cluster;
mod debian;
mod demo_check;
mod dependencies;
mod floors;
mod fuzz;
mod generate;
mod links;
mod shipped;
mod sizes;
mod soak;
mod step;
mod test;
mod times;
mod tools;
mod words;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Outrigger.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Format, lints, generated files, licences and advisories: what must hold before a commit.
    Check(check::Args),
    /// All tests of the project; as root on Debian or Ubuntu it installs what they need.
    Test(test::Args),
    /// A Kubernetes node for the tests, started on this machine.
    Cluster(cluster::Args),
    /// The Gateway API's own conformance suite for meshes, in the test cluster.
    Conformance(cluster::conformance::Args),
    /// Writes the generated files: code of the protocol, reference pages.
    Gen(generate::Args),
    /// Runs the release build's demo and asserts that every step of its JSON is proved.
    DemoCheck(demo_check::Args),
    /// Measures against other meshes, side by side in one run.
    Bench(bench::Args),
    /// Runs the fuzz targets: parsers and protocols held against other implementations, each for a while.
    Fuzz(fuzz::Args),
    /// Attacks the mesh and other proxies with the same inputs, and writes the comparison into docs/security.
    Attack(attack::Args),
    /// The mesh under load while its parts fail: each message that fails must match a fault and the table of what it may cost.
    Soak(soak::Args),
    /// Measures the shipped sidecar: size, idle memory, time to ready.
    Sizes(sizes::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Conformance(args) => cluster::conformance::run(&args),
        Command::Gen(args) => generate::run(&args),
        Command::DemoCheck(args) => demo_check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Attack(args) => attack::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Sizes(args) => sizes::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
