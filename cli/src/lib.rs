//! The command `outrigger`: it tries a mesh on one machine, looks at one, and explains its errors.
//!
//! [`args`] holds what can be typed, `commands` what is then done; `outrigger_console` prints, and says how commands end.
//! `outrigger_demo` is the mesh on one machine.

pub mod args;
pub mod chart;
mod check;
mod commands;
pub mod findings;
mod flags;
mod installation;
mod manifest;
mod traffic;

// The one place that tells builds with a Kubernetes client from those without: there the same functions say what to do.
#[cfg_attr(not(feature = "kubernetes"), expect(dead_code, reason = "only a client reads the options"))]
mod cluster;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(not(feature = "kubernetes"))]
#[path = "no_kubernetes.rs"]
mod kubernetes;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::Output;
use outrigger_demo::{apps, inside, outer};

use self::args::{Args, Command};

/// The whole program: its helper for sandboxes, or the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = outrigger_sandbox::run_helper() {
        return code;
    }
    outrigger_demo::die_with_parent_if_asked();
    let args = Args::parse();
    let output = Output::new(args.color, args.quiet);
    match run(args.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let failure = error.downcast_ref::<Failure>();
            output.error(&format!("{error:#}"), failure.and_then(|failure| failure.hint.as_deref()));
            failure.map_or(Exit::Unknown, |failure| failure.exit).into()
        }
    }
}

fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => block_on(outer::run(&args, output)),
        Command::Run(args) => block_on(commands::run::run(&args, output)),
        Command::Check(args) => block_on(commands::check::run(&args, output)),
        Command::Stat(args) => block_on(commands::stat::run(&args, output)),
        Command::Top(args) => block_on(commands::top::run(&args, output)),
        Command::Graph(args) => block_on(commands::graph::run(&args, output)),
        Command::Install(args) => block_on(commands::install::run(&args, output)),
        Command::Upgrade(args) => block_on(commands::upgrade::run(&args, output)),
        Command::Uninstall(args) => block_on(commands::uninstall::run(&args, output)),
        Command::Apply(args) => block_on(commands::apply::run(&args, output)),
        Command::Inject(args) => commands::inject::run(&args, output),
        Command::DemoInside(args) => block_on(inside::run(&args, output)),
        Command::DemoApp(args) => block_on(apps::run(args)).map(|()| Exit::Yes),
        Command::Explain(args) => commands::explain::run(&args, output),
        Command::Version(args) => Ok(commands::version::run(&args, output)),
        Command::Completion(args) => Ok(commands::completion::run(&args, Args::command(), output)),
        Command::Sidecar(args) => outrigger_sidecar::run(*args).map(|()| Exit::Yes),
        Command::ControlPlane(args) => block_on(outrigger_control_plane::run(*args)).map(|()| Exit::Yes),
    }
}

/// On the main thread: processes that it starts may ask to end with the thread that started them.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
