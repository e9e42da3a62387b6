//! `cargo xtask demo-check`: the README's first command, run as a stranger would, its claims asserted from its JSON.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
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
    let seconds = start.elapsed().as_secs_f64();
    let first = report["steps"][0]["elapsedMs"].as_f64().unwrap_or(0.0) / 1000.0;
    eprintln!("{} proved in {seconds:.1} s, the first after {first:.1} s: {}", proved.len(), proved.join(", "));
    Ok(())
}

/// What the demo must prove, by the names of its steps.
const CLAIMS: [&str; 7] = ["ca", "identities", "mtls", "split", "retries", "route-change", "trace"];

/// The names of the demo's steps: all proved, and no claim left out.
fn proved(report: &Value) -> Result<Vec<&str>> {
    let steps = report["steps"].as_array().context("the demo's JSON has no `steps`")?;
    let mut names = Vec::new();
    for step in steps {
        ensure!(step["ok"] == true, "not proved: {step}");
        names.push(step["name"].as_str().context("a step without a name")?);
    }
    for claim in CLAIMS {
        ensure!(names.contains(&claim), "the demo proved no `{claim}`: {report}");
    }
    ensure!(report["ok"] == true, "the demo does not say that all is ok: {report}");
    // Root can make namespaces anywhere: the fall-back on loopback would then hide that the capture is broken.
    if workspace::is_root() {
        ensure!(report["mode"] == "namespaces", "run as root, and yet without capture: {}", report["mode"]);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report(unproved: Option<&str>) -> Value {
        let step = |name: &&str| json!({"name": name, "ok": Some(*name) != unproved});
        json!({"ok": true, "mode": "namespaces", "steps": CLAIMS.iter().map(step).collect::<Vec<_>>()})
    }

    #[test]
    fn refuses_a_report_with_an_unproved_step() {
        assert_eq!(proved(&report(None)).unwrap(), CLAIMS);
        assert!(proved(&report(Some("split"))).unwrap_err().to_string().contains("split"));
    }

    #[test]
    fn refuses_a_report_that_leaves_out_a_claim() {
        let mut short = report(None);
        short["steps"].as_array_mut().unwrap().pop();

        assert!(proved(&short).unwrap_err().to_string().contains("trace"));
        assert!(proved(&json!({"ok": true})).is_err());
    }
}
