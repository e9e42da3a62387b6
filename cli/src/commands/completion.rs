//! `outrigger completion SHELL`.

use clap::Command;
use clap_complete::Shell;
use outrigger_console::exit::Exit;
use outrigger_console::output::Output;

/// `outrigger completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: Command, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "outrigger", &mut script);
    output.data(String::from_utf8_lossy(&script).trim_end());
    Exit::Yes
}
