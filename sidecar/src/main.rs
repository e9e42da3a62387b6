//! The binary `outrigger-sidecar`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    outrigger_sidecar::run(outrigger_sidecar::Args::parse())
}
