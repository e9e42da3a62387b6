//! `cargo xtask cluster shell`: where kubectl works.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::places::Places;
use super::process;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A command to run in place of a shell, such as `kubectl get pods`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Becomes the shell.
pub(super) fn run(places: &Places, args: &Args) -> Result<()> {
    let kubeconfig = places.kubeconfig();
    ensure!(kubeconfig.exists(), "the cluster is not up: run `cargo xtask cluster up`");
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "sh".to_owned());
    let command = if args.command.is_empty() { vec![shell] } else { args.command.clone() };
    let mut path = places.bin().into_os_string();
    path.push(":");
    path.push(process::search_path()?);
    let error = Command::new(&command[0])
        .args(&command[1..])
        .env("KUBECONFIG", kubeconfig)
        // `Command` looks for the program in the PATH that it sets.
        .env("PATH", path)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", command[0]))
}
