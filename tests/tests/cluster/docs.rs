//! Pages of the documentation, run as they are written.

use std::time::{Duration, Instant};

use outrigger_tests::cluster::{Alone, Cluster, enter_alone};
use outrigger_tests::page::{self, Step};
use outrigger_tests::peers::gateway_api;

use super::lifecycle::Again;

#[test]
fn the_quickstart() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let _again = Again(cluster);
    // A page starts with a cluster that has no mesh, and ends with one.
    run(cluster, &alone, "outrigger uninstall --force");
    follow(cluster, &alone, "docs/quickstart.md");
}

/// Runs a page's commands in their order.
fn follow(cluster: &'static Cluster, alone: &Alone, path: &str) {
    let _shop = Shop(cluster);
    for step in page::read(path) {
        let Step { place, command, .. } = &step;
        let (printed, success) = eventually(&step, || run(cluster, alone, command));
        assert!(step.shows(&printed), "{place}: `{command}` printed something else:\n{printed}");
        assert!(success || !step.shown.is_empty(), "{place}: `{command}` failed:\n{printed}");
    }
}

/// What only looks may have to look again: a cluster takes its time.
fn eventually(step: &Step, mut run: impl FnMut() -> (String, bool)) -> (String, bool) {
    let start = Instant::now();
    let looks = LOOKS.iter().any(|reader| step.command.starts_with(reader));
    loop {
        let (printed, success) = run();
        if !looks || step.shows(&printed) || start.elapsed() > PATIENCE {
            return (printed, success);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn run(cluster: &Cluster, _alone: &Alone, command: &str) -> (String, bool) {
    // The tests know no internet; the module that the release is made of has the same.
    let here = if command.contains(GATEWAY_API) {
        let folder = gateway_api::standard_channel().unwrap();
        command.replace(GATEWAY_API, folder.to_str().unwrap())
    } else {
        command.to_owned()
    };
    let output = cluster.shell(&here).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

/// What pages make, for when they fail half way.
struct Shop(&'static Cluster);

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = self.0.kubectl(["-n", "shop", "describe", "pods"]).output();
            eprintln!("{}", String::from_utf8_lossy(&shown.map(|output| output.stdout).unwrap_or_default()));
        }
        let _ = self.0.kubectl(["delete", "namespace", "shop", "--ignore-not-found"]).output();
        if let Ok(folder) = gateway_api::standard_channel() {
            let _ = self.0.kubectl(["delete", "--ignore-not-found", "-f"]).arg(folder).output();
        }
    }
}

const LOOKS: [&str; 5] = ["kubectl get ", "kubectl logs ", "kubectl exec ", "kubectl describe ", "outrigger check"];
const GATEWAY_API: &str =
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml";
const PATIENCE: Duration = Duration::from_secs(60);
