//! `outrigger check`: is a mesh on this machine well? It asks the control plane and every sidecar, and says what is not.

mod ask;
mod judge;

use std::net::SocketAddr;

use serde_json::json;

use self::ask::Pages;
use self::judge::{Category, Level};
use crate::exit::Exit;
use crate::output::{Format, Output, Stream, Style};

/// `outrigger check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Admin address of the control plane; without it, the mesh of a running `outrigger demo`.
    #[arg(long, value_name = "IP:PORT")]
    control_plane: Option<SocketAddr>,
    /// Admin address of a sidecar (repeatable).
    #[arg(long, value_name = "IP:PORT", requires = "control_plane")]
    sidecar: Vec<SocketAddr>,
    /// From which finding on the answer is no (exit code 1).
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    fail_on: FailOn,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    #[default]
    Error,
    Warn,
}

/// Exit 0: healthy; 1: not; 2: it could not be found out.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let pages = match args.control_plane {
        Some(addr) => Pages::of_addresses(addr, &args.sidecar).await?,
        None => Pages::of_demo().await?,
    };
    let categories = judge::all(&pages);
    let count =
        |level| categories.iter().flat_map(|category| &category.checks).filter(|check| check.level == level).count();
    let (warnings, errors) = (count(Level::Warn), count(Level::Error));
    let healthy = errors == 0 && (args.fail_on == FailOn::Error || warnings == 0);
    match args.output {
        Format::Table => table(&categories, warnings, errors, output),
        Format::Json => output.json(&json!({
            "apiVersion": super::API_VERSION,
            "kind": "Check",
            "ok": healthy,
            "categories": categories,
            "warnings": warnings,
            "errors": errors,
        })),
    }
    Ok(if healthy { Exit::Yes } else { Exit::No })
}

fn table(categories: &[Category], warnings: usize, errors: usize, output: &Output) {
    for category in categories {
        output.data(&output.paint(Stream::Stdout, Style::Bold, &category.name));
        for check in &category.checks {
            let (style, word) = match check.level {
                Level::Ok => (Style::Good, "ok"),
                Level::Warn => (Style::Warning, "warn"),
                Level::Error => (Style::Bad, "FAIL"),
            };
            let word = output.paint(Stream::Stdout, style, &format!("{word:<4}"));
            let code = if check.level == Level::Ok { String::new() } else { format!("{} ", check.code) };
            output.data(&format!("  {word}  {code}{}", check.message));
            if let Some(hint) = &check.hint {
                output.data(&format!("        hint: {hint}"));
            }
        }
    }
    let ok = categories.iter().filter(|category| category.checks.iter().all(|check| check.level == Level::Ok)).count();
    output.data(&format!("{ok} ok categories, {warnings} warnings, {errors} errors"));
}
