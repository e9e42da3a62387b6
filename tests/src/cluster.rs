//! A real Kubernetes cluster: whichever `OUTRIGGER_TEST_KUBECONFIG` names, such as that of `cargo xtask cluster up`.
//!
//! Tests use it as users do: with `kubectl` and `outrigger`. Each has a namespace of its own, which goes when it ends.

mod background;
mod kinds;
mod manifest;
mod space;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::Value;

pub use manifest::{ETCD, IMAGE, JAEGER, Workload, service};
pub use space::{Load, Space};

/// The cluster, with the mesh installed.
#[derive(Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    outrigger: PathBuf,
}

/// While it lives, nobody changes the mesh itself.
pub type Shared = RwLockReadGuard<'static, ()>;
/// While it lives, no other test uses the cluster.
pub type Alone = RwLockWriteGuard<'static, ()>;

/// Returns the cluster, with the mesh installed. Without one the test is skipped with a message, or fails when
/// `OUTRIGGER_REQUIRE_CLUSTER=1`.
///
/// # Panics
/// When the cluster does not answer, or the mesh cannot be installed.
#[must_use]
pub fn enter() -> Option<(&'static Cluster, Shared)> {
    let cluster = cluster()?;
    cluster.installed();
    Some((cluster, USE.read().unwrap_or_else(PoisonError::into_inner)))
}

/// As [`enter`], for a test that changes the mesh itself: it has the cluster to itself.
///
/// # Panics
/// As [`enter`].
#[must_use]
pub fn enter_alone() -> Option<(&'static Cluster, Alone)> {
    let cluster = cluster()?;
    cluster.installed();
    Some((cluster, USE.write().unwrap_or_else(PoisonError::into_inner)))
}

impl Cluster {
    /// A kubectl for this cluster.
    #[must_use]
    pub fn kubectl<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args).stdin(Stdio::null());
        command
    }

    /// An `outrigger` for this cluster.
    #[must_use]
    pub fn outrigger<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(&self.outrigger);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// A shell in a folder, where `kubectl` and `outrigger` are those for this cluster.
    #[must_use]
    pub fn shell(&self, folder: &Path, command: &str) -> Command {
        let mut shell = Command::new("bash");
        let programs = [&self.kubectl, &self.outrigger].into_iter().filter_map(|program| program.parent());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(programs.map(Path::to_path_buf).chain(std::env::split_paths(&path)));
        // One stream, as in a terminal.
        shell.args(["-c", &format!("exec 2>&1; {command}")]).env("PATH", path.expect("no folder has a colon"));
        shell.current_dir(folder).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        shell
    }

    /// What tells other programs of this cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What kubectl prints.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn text<const N: usize>(&self, args: [&str; N]) -> String {
        succeeds(&mut self.kubectl(args))
    }

    /// Runs kubectl.
    ///
    /// # Panics
    /// When it fails.
    pub fn run<const N: usize>(&self, args: [&str; N]) {
        let _ = self.text(args);
    }

    /// What kubectl prints with `-o json`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn json<const N: usize>(&self, args: [&str; N]) -> Value {
        let text = succeeds(self.kubectl(args).args(["-o", "json"]));
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// When it is refused.
    pub fn apply(&self, manifest: &str) {
        let output = self.applied(manifest);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl apply: {said}\n{manifest}");
    }

    /// Removes what a manifest names, as far as it is there.
    ///
    /// # Panics
    /// When that is refused.
    pub fn remove(&self, manifest: &str) {
        let output = feed(&mut self.kubectl(["delete", "--ignore-not-found", "-f", "-"]), manifest);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl delete: {said}\n{manifest}");
    }

    /// Applies a manifest; what kubectl said of it.
    ///
    /// # Panics
    /// When kubectl cannot be run.
    #[must_use]
    pub fn applied(&self, manifest: &str) -> Output {
        feed(&mut self.kubectl(["apply", "-f", "-"]), manifest)
    }

    /// Waits until a Deployment, StatefulSet or DaemonSet has rolled out.
    ///
    /// # Panics
    /// When it has not after two minutes; the message has the pods and their events.
    pub fn rolled_out(&self, namespace: &str, workload: &str) {
        let output = self.kubectl(["-n", namespace, "rollout", "status", workload, "--timeout=120s"]).output();
        let output = output.expect("kubectl runs");
        if !output.status.success() {
            let pods = self.text(["-n", namespace, "describe", "pods"]);
            panic!("{workload} in {namespace}: {}\n{pods}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Installs the mesh, once for all tests of this process. One that is there goes first: the same tag may be another image.
    fn installed(&self) {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            let _ = succeeds(&mut self.outrigger(["uninstall", "--force"]));
            self.install();
        });
    }

    /// Installs the mesh as a user does.
    ///
    /// # Panics
    /// When it fails.
    pub fn install(&self) {
        let output = self.outrigger(["install", "--set", "image.pullPolicy=Never"]).output().expect("outrigger runs");
        if !output.status.success() {
            let pods = self.kubectl(["-n", SYSTEM, "describe", "pods"]).output().map(|output| output.stdout);
            panic!(
                "outrigger install: {}\n{}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&pods.unwrap_or_default())
            );
        }
    }
}

/// Runs with this as its standard input.
fn feed(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // A kubectl that gave up closes it early, and says why.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("kubectl ends")
}

/// Runs to success and returns what was printed.
///
/// # Panics
/// When it fails.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        let kubeconfig = PathBuf::from(std::env::var_os("OUTRIGGER_TEST_KUBECONFIG")?);
        let kubectl = std::env::var_os("OUTRIGGER_KUBECTL").unwrap_or_else(|| "kubectl".into());
        Some(Cluster { kubectl: kubectl.into(), kubeconfig, outrigger: crate::binary() })
    });
    if cluster.is_none() {
        let test = std::thread::current();
        let test = test.name().unwrap_or("a test");
        let required = std::env::var("OUTRIGGER_REQUIRE_CLUSTER").is_ok_and(|value| value == "1");
        assert!(!required, "{test} needs a cluster: `cargo xtask test --only cluster` starts one");
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: OUTRIGGER_TEST_KUBECONFIG names no cluster");
    }
    cluster.as_ref()
}

/// Where the mesh lives.
pub const SYSTEM: &str = "outrigger-system";

/// How long a cluster may take for what it does by itself: pods that start, endpoints that spread.
pub const PATIENCE: Duration = Duration::from_secs(90);

static USE: RwLock<()> = RwLock::new(());
