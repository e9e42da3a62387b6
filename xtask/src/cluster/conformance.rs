//! `cargo xtask conformance`: the Gateway API's own conformance suite for meshes, as its Go module has it, in the test cluster.
//!
//! The suite makes two namespaces, whose pods get sidecars as any user's do, and asks from inside of them.

mod echo;
mod gateway_api;
mod suite;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use super::places::{Places, require_root};
use super::{kubectl, mesh};
use crate::step::Steps;

/// `cargo xtask conformance`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Where the suite's report goes; those of releases are kept in `tests/conformance/reports`.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only this test of the suite, such as `MeshTrafficSplit`; there is no report then.
    #[arg(long, value_name = "TEST", conflicts_with = "report")]
    run_test: Option<String>,
}

/// Runs the suite, in the cluster as it is when one is up.
///
/// # Errors
/// When a test fails or is skipped, or what a test made does not go.
pub(crate) fn run(args: &Args) -> Result<()> {
    require_root()?;
    let mut steps = Steps::default();
    steps.step("a Kubernetes cluster, and the images", || super::for_tests().map(drop));
    if steps.all_passed() {
        add_to(&mut steps, args);
    }
    steps.finish()
}

/// Adds the suite to the steps of another command, which has seen to the cluster and the images.
pub(crate) fn add_to(steps: &mut Steps, args: &Args) {
    steps.counted_step("conformance", |counts| {
        let places = Places::new()?;
        echo::load(&places)?;
        // An earlier run that was broken off may have left them, with sidecars of then.
        remove_namespaces(&places)?;
        // Before the mesh, which then finds the kinds at once.
        let kinds = gateway_api::make(&places)?;
        let result = mesh::install(&places).and_then(|()| suite::run(&places, args, counts));
        // The suite removes what it made, and does not wait for it.
        let gone = result.and_then(|()| namespaces_go(&places));
        kinds.remove(&places).and(gone)
    });
}

fn remove_namespaces(places: &Places) -> Result<()> {
    kubectl::run(places, &[&["delete", "namespace", "--ignore-not-found"], NAMESPACES.as_slice()].concat())
}

/// A sidecar must not hold up the end of its pod, nor that of the namespace.
fn namespaces_go(places: &Places) -> Result<()> {
    let left = NAMESPACES.map(|name| format!("namespace/{name}"));
    let start = Instant::now();
    kubectl::run(places, &["wait", "--for=delete", &left[0], &left[1], LIMIT_TO_GO])?;
    eprintln!("    its namespaces were gone after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// What the suite makes.
const NAMESPACES: [&str; 2] = ["gateway-conformance-mesh", "gateway-conformance-mesh-consumer"];
/// As long as the suite's later versions give them.
const LIMIT_TO_GO: &str = "--timeout=30s";
