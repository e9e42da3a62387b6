//! Pages of the documentation, run as they are written.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outrigger_tests::cluster::{Cluster, enter_alone};
use outrigger_tests::page::{self, Step};
use outrigger_tests::peers::gateway_api;

use super::lifecycle::Again;

#[test]
fn the_quickstart() {
    follow("docs/quickstart.md");
}

#[test]
fn operations() {
    follow("docs/tasks/operations.md");
}

#[test]
fn troubleshooting() {
    follow("docs/tasks/troubleshooting.md");
}

#[test]
fn routing() {
    follow("docs/tasks/routing.md");
}

#[test]
fn traffic_policies() {
    follow("docs/tasks/traffic-policy.md");
}

#[test]
fn traffic() {
    follow("docs/tasks/traffic.md");
}

/// Runs a page's commands in their order, on a cluster without a mesh. Afterwards there is one again.
fn follow(path: &str) {
    let Some((cluster, _alone)) = enter_alone() else { return };
    let _again = Again(cluster);
    let reader = Reader::new(cluster);
    for step in page::read(path) {
        let Step { place, command, .. } = &step;
        let start = Instant::now();
        let (printed, success) = reader.eventually(&step);
        eprintln!("{:6.1} s  {place}: {command}", start.elapsed().as_secs_f64());
        reader.last.replace(format!("{place}: `{command}` printed:\n{printed}"));
        assert!(step.shows(&printed), "{place}: `{command}` printed something else:\n{printed}");
        assert!(success || step.has_words(), "{place}: `{command}` failed:\n{printed}");
    }
}

/// Who follows a page, in a folder that has what the root of the repository has for readers.
struct Reader {
    cluster: &'static Cluster,
    folder: PathBuf,
    /// The command that ran last, and what it printed: the end of a long log is what is read of it.
    last: RefCell<String>,
}

impl Reader {
    fn new(cluster: &'static Cluster) -> Self {
        let folder = std::env::temp_dir().join(format!("outrigger-pages-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        std::os::unix::fs::symlink(examples, folder.join("examples")).unwrap();
        let reader = Self { cluster, folder, last: RefCell::default() };
        // A run that was cut off has left them.
        reader.clean_up();
        reader
    }

    /// Removes what pages make.
    fn clean_up(&self) {
        self.run("kubectl delete namespace shop --ignore-not-found");
        self.run(&format!("kubectl delete --ignore-not-found -f {GATEWAY_API}"));
        self.run("outrigger uninstall --force");
        // A namespace that a page made by hand is not the command's to remove.
        self.run("kubectl delete namespace outrigger-system --ignore-not-found");
    }

    /// What only looks may have to look again: a cluster takes its time.
    fn eventually(&self, step: &Step) -> (String, bool) {
        let start = Instant::now();
        let looks = LOOKS.iter().any(|reader| step.command.starts_with(reader));
        loop {
            let (printed, success) = self.run(&step.command);
            if !looks || step.shows(&printed) || start.elapsed() > PATIENCE {
                return (printed, success);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What it prints, and whether it succeeds.
    fn run(&self, command: &str) -> (String, bool) {
        // The tests know no internet; the module that the release is made of has the same.
        let here = if command.contains(GATEWAY_API) {
            command.replace(GATEWAY_API, gateway_api::standard_channel().unwrap().to_str().unwrap())
        } else {
            command.to_owned()
        };
        let output = self.cluster.shell(&self.folder, &here).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for look in WHEN_IT_FAILED {
                eprintln!("{look}\n{}", self.run(&format!("{look} 2>&1")).0);
            }
            eprintln!("{}", self.last.borrow());
        }
        self.clean_up();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const LOOKS: [&str; 8] = [
    "kubectl get ",
    "kubectl logs ",
    "kubectl exec ",
    "kubectl describe ",
    "kubectl events ",
    "outrigger check",
    "outrigger stat",
    "outrigger graph",
];
const GATEWAY_API: &str =
    "https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.7.0/standard-install.yaml";
const PATIENCE: Duration = Duration::from_secs(90);
/// What tells why a page's command did not do what the page says.
const WHEN_IT_FAILED: [&str; 5] = [
    "kubectl get pods -A -o wide",
    "kubectl events -n shop --types=Warning",
    "kubectl logs -n outrigger-system deployment/outrigger-control-plane --tail=20",
    "kubectl logs -n shop deployment/client -c outrigger-sidecar --tail=20",
    "kubectl get trafficpolicies.outrigger.io -A -o yaml",
];
