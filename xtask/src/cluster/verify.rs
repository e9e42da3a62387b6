//! `cargo xtask cluster verify`: pods start, find each other by name, and reach each other through a Service.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::places::Places;
use super::{down, image, kubectl, up};
use crate::step::{self, Steps};

/// Tries the cluster out.
///
/// # Errors
/// Names what did not work.
pub(super) fn run(places: &Places) -> Result<()> {
    let was_down = down::left(places).is_empty();
    let mut steps = Steps::default();
    steps.step("the cluster comes up", || up::run(places, &up::Args::default()));
    if steps.all_passed() {
        steps.step("two pods and a Service", || deploy(places));
    }
    if steps.all_passed() {
        steps.step("a name in the cluster's DNS", || {
            said(places, &["nslookup", "web.outrigger-verify.svc.cluster.local"], "Address")
        });
        steps.step("a name outside of it is unknown at once", || {
            said(places, &["sh", "-c", "nslookup nowhere.test || true"], "NXDOMAIN")
        });
        steps.step("a Service by its name", || {
            said(places, &["wget", "-qO-", "http://web/hello"], r#""path":"/hello""#)
        });
        steps.step("the host by its name", || said(places, &["nslookup", "outside.test"], "outside.test"));
        steps.step("a pod that dials itself through its Service", || hairpin(places));
        steps.step("logs of a pod", || logs(places));
    }
    steps.step("what was deployed goes", || {
        kubectl::run(places, &["delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait"])
    });
    if was_down {
        steps.step("down leaves nothing", || down::run(places));
    }
    steps.finish()
}

fn deploy(places: &Places) -> Result<()> {
    let file = places.sources().join("verify.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let rendered = places.run().join("verify.yaml");
    fs::write(&rendered, text.replace("{{version}}", image::VERSION))?;
    kubectl::run(places, &["apply", "-f", rendered.to_str().context("a path that is not UTF-8")?])?;
    for workload in ["deployment/web", "pod/client"] {
        let condition = if workload.starts_with("pod") { "--for=condition=Ready" } else { "--for=condition=Available" };
        kubectl::run(places, &["wait", condition, workload, "--namespace", NAMESPACE, "--timeout=60s"])?;
    }
    Ok(())
}

/// What a command in the client pod prints must contain something.
fn said(places: &Places, command: &[&str], expected: &str) -> Result<()> {
    let args = [&["exec", "client", "--namespace", NAMESPACE, "--"], command].concat();
    let text = step::output(&mut kubectl::kubectl(places, &args))?;
    ensure!(text.contains(expected), "`{}` does not say {expected}, but: {text}", command.join(" "));
    Ok(())
}

/// Each of the two pods behind the Service asks it until it has answered itself.
fn hairpin(places: &Places) -> Result<()> {
    let args = ["get", "pods", "--namespace", NAMESPACE, "--selector", "app=web", "-o", "name"];
    let pods = kubectl::ask(places, &args);
    let pod = pods.lines().next().context("no pod of the Service")?;
    let name = pod.trim_start_matches("pod/");
    for _ in 0..50 {
        let command = ["exec", pod, "--namespace", NAMESPACE, "--", "/test-app", "client", "http://web/"];
        let text = step::output(&mut kubectl::kubectl(places, &command))?;
        if text.contains(&format!(r#""X-Pod":["{name}"]"#)) {
            return Ok(());
        }
    }
    anyhow::bail!("50 requests of {name} to its own Service, and none came back to it")
}

fn logs(places: &Places) -> Result<()> {
    let text = kubectl::ask(places, &["logs", "deployment/web", "--namespace", NAMESPACE]);
    ensure!(text.contains("serves http"), "the log of the Deployment's pod is {text:?}");
    Ok(())
}

const NAMESPACE: &str = "outrigger-verify";
