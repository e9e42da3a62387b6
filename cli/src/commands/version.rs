//! `outrigger version`.

use outrigger_console::exit::Exit;
use outrigger_console::output::{API_VERSION, Format, Output};
use serde_json::json;

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
            output.json(&json!({"apiVersion": API_VERSION, "kind": "Version", "version": version}));
        }
    }
    Exit::Yes
}
