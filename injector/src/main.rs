//! The binary `outrigger-injector`.

use std::process::ExitCode;

use clap::Parser;
use outrigger_injector::{Args, run};

fn main() -> ExitCode {
    let args = Args::parse();
    // One thread: a patch takes microseconds, and all else is waiting.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
