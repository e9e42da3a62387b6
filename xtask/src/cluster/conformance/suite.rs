//! The suite itself: its program, what it is told, and what its output says.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::Args;
use crate::cluster::image::VERSION;
use crate::cluster::places::{Places, make_folder};
use crate::cluster::programs;
use crate::step::Counts;
use crate::workspace;

/// Runs the suite. All tests for meshes must pass, and none may be skipped.
pub(super) fn run(places: &Places, args: &Args, counts: &mut Counts) -> Result<()> {
    let folder = workspace::target_dir(places.repository()).join("conformance");
    make_folder(&folder)?;
    let log_path = folder.join("log.txt");
    let mut log = File::create(&log_path).with_context(|| format!("create {}", log_path.display()))?;
    programs::build(places, &[&programs::CONFORMANCE])?;
    let mut command = Command::new(programs::path(places, &programs::CONFORMANCE));
    command.args(["-test.v", "-test.run=^TestConformance$", "-test.timeout=20m"]).args(flags());
    match (&args.run_test, &args.report) {
        (Some(test), _) => command.arg(format!("--run-test={test}")),
        (None, Some(report)) => command.arg(format!("--report-output={}", std::path::absolute(report)?.display())),
        (None, None) => command.arg(format!("--report-output={}", folder.join("report.yaml").display())),
    };
    command.env("KUBECONFIG", places.kubeconfig()).current_dir(&folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
    let mut child = command.spawn().context("cannot start the conformance suite")?;
    for line in BufReader::new(child.stdout.take().context("no stdout")?).split(b'\n') {
        let line = line?;
        log.write_all(&line)?;
        log.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        if let Some((verdict, test)) = verdict(&line) {
            count(counts, verdict, test, args.run_test.as_deref());
        }
    }
    let status = child.wait()?;
    check(*counts, status.success(), &log_path)
}

/// What this mesh claims, and who it is.
fn flags() -> Vec<String> {
    vec![
        "--gateway-class=".into(),
        "--conformance-profiles=MESH-HTTP,MESH-GRPC".into(),
        format!("--supported-features={}", FEATURES.join(",")),
        "--namespace-labels=outrigger.io/inject=enabled".into(),
        "--organization=outrigger-mesh".into(),
        "--project=outrigger".into(),
        format!("--url={}", env!("CARGO_PKG_REPOSITORY")),
        format!("--version={VERSION}"),
        format!("--contact={}/issues", env!("CARGO_PKG_REPOSITORY")),
    ]
}

/// What a line says of a test for meshes as a whole. The suite has tests of gateways, too, and skips them all.
fn verdict(line: &str) -> Option<(&str, &str)> {
    let (verdict, test) = line.strip_prefix("    --- ")?.split_once(": TestConformance/")?;
    let test = test.split_whitespace().next()?;
    test.starts_with("Mesh").then_some((verdict, test))
}

fn count(counts: &mut Counts, verdict: &str, test: &str, only: Option<&str>) {
    if only.is_some_and(|only| only != test) {
        return;
    }
    match verdict {
        "PASS" => counts.passed += 1,
        "FAIL" => counts.failed += 1,
        _ => counts.skipped += 1,
    }
    if verdict != "PASS" {
        eprintln!("    {verdict} {test}");
    }
}

fn check(counts: Counts, success: bool, log: &Path) -> Result<()> {
    let Counts { passed, failed, skipped } = counts;
    ensure!(
        success && failed == 0 && skipped == 0 && passed > 0,
        "{passed} tests passed, {failed} failed, {skipped} were skipped; {} has what they did",
        log.display()
    );
    eprintln!("    {passed} tests of the Gateway API's suite passed; none was skipped");
    Ok(())
}

/// All that a test for meshes asks for.
const FEATURES: [&str; 17] = [
    "Mesh",
    "HTTPRoute",
    "GRPCRoute",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteNamedRouteRule",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteParentRefPort",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_tests_for_meshes_as_a_whole() {
        let mut counts = Counts::default();
        for line in [
            "    --- PASS: TestConformance/MeshBasic (3.02s)",
            "        --- PASS: TestConformance/MeshPorts/0_request (1.00s)",
            "    --- FAIL: TestConformance/MeshPorts (9.00s)",
            "    --- SKIP: TestConformance/MeshFrontend (0.00s)",
            "    --- SKIP: TestConformance/GatewayInfrastructure (0.00s)",
            "--- FAIL: TestConformance (60.00s)",
        ] {
            if let Some((verdict, test)) = verdict(line) {
                count(&mut counts, verdict, test, None);
            }
        }

        assert_eq!(counts, Counts { passed: 1, failed: 1, skipped: 1 });
        assert!(check(counts, true, Path::new("log")).is_err(), "a test that was skipped says nothing");
        assert!(check(Counts::default(), true, Path::new("log")).is_err(), "no test at all");
        assert!(check(Counts { passed: 22, ..Counts::default() }, true, Path::new("log")).is_ok());
        assert!(check(Counts { passed: 22, ..Counts::default() }, false, Path::new("log")).is_err());
    }

    #[test]
    fn counts_one_test_when_one_is_run() {
        let mut counts = Counts::default();
        count(&mut counts, "PASS", "MeshBasic", Some("MeshBasic"));
        count(&mut counts, "SKIP", "MeshPorts", Some("MeshBasic"));

        assert_eq!(counts, Counts { passed: 1, ..Counts::default() });
    }
}
