//! `cargo xtask soak`: the mesh under load while its parts fail, for as long as one likes. `cargo xtask test` runs short forms of it.

use std::process::Command;

use anyhow::Result;

use crate::{debian, step, test, workspace};

/// `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Length of each part.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Seed of the plan of faults; the same seed means the same faults in the same order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs one part only.
    #[arg(long, value_enum)]
    only: Option<Part>,
}

/// A part of the soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Parts of the mesh and its workloads fail one after another.
    Faults,
    /// Certificates live for ten seconds.
    Certificates,
}

/// Runs the soak.
///
/// # Errors
/// When a message failed that no fault may cost, or something grew.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    debian::install(debian::FOR_TESTS)?;
    step::announce("building the mesh");
    step::run(workspace::cargo(&root).args(["build", "--quiet", "--workspace", "--all-targets", "--all-features"]))?;
    for (part, name) in [(Part::Faults, "soak::through_faults"), (Part::Certificates, "soak::with_short_certificates")]
    {
        if args.only.is_none_or(|only| only == part) {
            step::announce(&format!("{name}, {} minutes", args.minutes));
            let mut command: Command = test::test_command(&root, "netns", 1);
            let (seconds, seed) = ((args.minutes * 60).to_string(), args.seed.to_string());
            command.args([name, "--nocapture"]);
            step::run(command.env("OUTRIGGER_FAULTS_SECONDS", seconds).env("OUTRIGGER_FAULTS_SEED", seed))?;
        }
    }
    Ok(())
}
