//! The limits of the mesh in a Kubernetes cluster, each measured on what runs there: `cargo xtask bench cluster`.

mod admission;
mod api;
mod change;
mod fake;
mod https;
mod memory;
mod sidecars;
mod start;
mod watch;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use api::{Api, Namespace};

/// `outrigger-bench cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; all when nothing is named.
    #[arg(value_parser = PARTS)]
    parts: Vec<String>,
    /// Pods of each kind whose start is timed.
    #[arg(long, default_value_t = 10)]
    pods: usize,
    /// How often a route is created and deleted.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// How many seconds admissions are asked for, 100 in each.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// How many pods the API server is filled with to see what watching them costs.
    #[arg(long, default_value_t = 5000)]
    watched: u32,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// `None`: it explains another figure.
    limit: Option<f64>,
}

impl Figure {
    fn limited(name: &'static str, value: f64, unit: &'static str, limit: f64) -> Self {
        Self { name, value, unit, limit: Some(limit) }
    }

    fn told(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, limit: None }
    }

    fn missed(&self) -> bool {
        self.limit.is_some_and(|limit| self.value > limit)
    }
}

/// Measures, prints; the status is 1 when a limit is missed.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let api = Api::connect().await?;
    let wanted = |part: &str| args.parts.is_empty() || args.parts.iter().any(|asked| asked == part);
    let namespace = Namespace::make(&api, "outrigger-bench").await?;
    let mut figures = Vec::new();
    let measured = async {
        if wanted("start") {
            figures.extend(start::measure(&api, &namespace, args.pods).await?);
        }
        if wanted("sidecar") {
            figures.extend(memory::sidecar(&api, &namespace).await?);
        }
        if wanted("admission") {
            figures.extend(admission::measure(&api, &namespace, args.seconds).await?);
        }
        if wanted("change") {
            figures.extend(change::measure(&api, &namespace, args.rounds).await?);
        }
        if wanted("memory") {
            figures.extend(memory::control_plane(&api, &namespace).await?);
        }
        if wanted("watch") {
            figures.extend(watch::measure(&api, args.watched).await?);
        }
        anyhow::Ok(())
    };
    let measured = tokio::select! {
        measured = measured => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    namespace.remove(&api).await?;
    measured?;
    print(&figures, args.json)?;
    Ok(if figures.iter().any(Figure::missed) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(figures: &[Figure], json: bool) -> Result<()> {
    if json {
        return crate::print_json(&figures);
    }
    std::io::stdout().lock().write_all(table(figures).as_bytes())?;
    Ok(())
}

fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for Figure { name, value, unit, limit } in figures {
        let _ = write!(text, "{name:<58} {value:>8.1} {unit:<4}");
        if let Some(limit) = limit {
            let verdict = if value > limit { "MISSED" } else { "ok" };
            let _ = write!(text, " limit {limit:>5.0}  {verdict}");
        }
        text.push('\n');
    }
    text
}

/// The median of what was measured.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

const PARTS: [&str; 6] = ["start", "sidecar", "admission", "change", "memory", "watch"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_which_limit_is_missed() {
        let figures = [
            Figure::limited("memory", 39.0, "MiB", 40.0),
            Figure::limited("delay", 501.0, "ms", 500.0),
            Figure::told("floor", 900.0, "ms"),
        ];

        let lines: Vec<String> = table(&figures).lines().map(str::to_owned).collect();
        assert!(lines[0].ends_with("limit    40  ok"), "{lines:?}");
        assert!(lines[1].ends_with("limit   500  MISSED"), "{lines:?}");
        assert!(lines[2].trim_end().ends_with("900.0 ms"), "{lines:?}");
    }
}
