//! `cargo xtask demo-check`: the README's first command, run as a stranger would, its claims asserted from its JSON.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{step, workspace};

/// `cargo xtask demo-check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves the JSON in this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// Builds and runs the demo, and checks what it reports.
///
/// # Errors
/// When it fails, a step is not proved, or it reports no step at all.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    step::announce("building the release binary");
    step::run(workspace::cargo(&root).args(["build", "--release", "--quiet"]))?;
    step::announce("cargo run --release -- demo --json");
    let start = Instant::now();
    let text = step::output(workspace::cargo(&root).args(["run", "--release", "--quiet", "--", "demo", "--json"]))?;
    if let Some(file) = &args.json {
        std::fs::write(file, &text).with_context(|| format!("write {}", file.display()))?;
    }
    let report: Value = serde_json::from_str(&text).context("the demo's output is not JSON")?;
    let proved = proved(&report)?;
    eprintln!("{} steps proved in {:.1} s: {}", proved.len(), start.elapsed().as_secs_f64(), proved.join(", "));
    Ok(())
}

/// The names of the demo's steps, all of which must be proved.
fn proved(report: &Value) -> Result<Vec<&str>> {
    let steps = report["steps"].as_array().context("the demo's JSON has no `steps`")?;
    ensure!(!steps.is_empty(), "the demo's JSON has no step");
    ensure!(report["ok"] == true, "the demo does not say that all is ok: {report}");
    steps
        .iter()
        .map(|step| {
            if step["ok"] != true {
                bail!("not proved: {step}");
            }
            step["name"].as_str().context("a step without a name")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refuses_a_report_with_an_unproved_step() {
        let all = json!({"ok": true, "steps": [{"name": "ca", "ok": true}, {"name": "split", "ok": true}]});
        let one = json!({"ok": true, "steps": [{"name": "ca", "ok": true}, {"name": "split", "ok": false}]});

        assert_eq!(proved(&all).unwrap(), ["ca", "split"]);
        assert!(proved(&one).unwrap_err().to_string().contains("split"));
    }

    #[test]
    fn refuses_a_report_without_steps() {
        assert!(proved(&json!({"ok": true, "steps": []})).is_err());
        assert!(proved(&json!({"ok": true})).is_err());
    }
}
