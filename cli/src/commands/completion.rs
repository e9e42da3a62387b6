//! `outrigger completion SHELL`.

use clap::CommandFactory as _;
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

pub(crate) fn run(args: &Args, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::args::Args::command(), "outrigger", &mut script);
    output.data(String::from_utf8_lossy(&script).trim_end());
    Exit::Yes
}
