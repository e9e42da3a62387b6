//! `outrigger version`.

use serde_json::json;

use crate::exit::Exit;
use crate::output::{Format, Output};

/// `outrigger version`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args, output: &Output) -> Exit {
    let version = outrigger_daemon::VERSION;
    match args.output {
        Format::Table => output.data(&format!("outrigger {version}")),
        Format::Json => {
            output.json(&json!({"apiVersion": super::API_VERSION, "kind": "Version", "version": version}));
        }
    }
    Exit::Yes
}
