//! A mesh of the test's own: a control plane on a folder of YAML, and pods.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_sandbox::{Namespace, Network, Sandbox, testing};

use crate::pod::Exempt;
use crate::{Pod, Process, client, wait};

/// The port on which the control plane listens.
const PORT: u16 = 4180;

/// The namespace of Kubernetes that pods belong to unless it is said otherwise.
const SHOP: &str = "shop";

/// Where the control plane's admin endpoints are, inside its namespace.
const ADMIN: &str = "127.0.0.1:4182";

/// The product's binary: what `cargo xtask test` built.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("OUTRIGGER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its binary");
    let path = test.ancestors().nth(2).expect("tests are built two folders down").join("outrigger");
    assert!(path.exists(), "{} is missing: run `cargo build -p outrigger-cli`, or `cargo xtask test`", path.display());
    path
}

/// Enters a sandbox: runs the calling test again inside and returns `None` outside, where the test then returns.
#[must_use]
pub fn enter() -> Option<Sandbox> {
    testing::enter(binary())
}

/// What a test may want of its mesh.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments of the control plane.
    pub control_plane: Vec<String>,
    /// Sidecars reach the control plane over IPv6.
    pub ipv6: bool,
}

/// The mesh.
#[derive(Debug)]
pub struct Mesh {
    // Processes end before the network and the folder go.
    control_plane: Option<Process>,
    home: Namespace,
    network: Network,
    folder: Folder,
    options: Options,
    pods: u16,
    _sandbox: Sandbox,
}

impl Mesh {
    /// Starts a mesh whose folder holds `yaml` in one file, `mesh.yaml`.
    #[must_use]
    pub fn start(sandbox: Sandbox, yaml: &str) -> Self {
        Self::start_with(sandbox, yaml, Options::default())
    }

    /// As [`Mesh::start`].
    ///
    /// # Panics
    /// When the network cannot be laid or the control plane does not come up.
    #[must_use]
    pub fn start_with(sandbox: Sandbox, yaml: &str, options: Options) -> Self {
        let network = Network::new(&sandbox).expect("the network is laid");
        let folder = Folder::new();
        fs::create_dir(folder.config()).expect("the folder is writable");
        // The control plane has a namespace of its own, as in a cluster; 10.77.0.2 and the first address of pods differ.
        let home = network.namespace("control-plane", Ipv4Addr::new(10, 77, 0, 2), v6(2)).expect("a namespace");
        let mut mesh = Self { control_plane: None, home, network, folder, options, pods: 10, _sandbox: sandbox };
        mesh.write("mesh.yaml", yaml);
        mesh.start_control_plane();
        mesh
    }

    /// Writes a file of the mesh's folder, as an editor does: beside, then renamed over.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn write(&self, name: &str, yaml: &str) {
        let beside = self.folder.path().join("beside");
        fs::write(&beside, yaml).expect("the folder is writable");
        fs::rename(&beside, self.folder.config().join(name)).expect("the folder is writable");
    }

    /// Removes a file of the mesh's folder.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.folder.config().join(name)).expect("the file was there");
    }

    /// Starts the control plane (again) and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_control_plane(&mut self) {
        let mut command = Command::new(binary());
        command.args(["control-plane", "run", "--listen", &self.control_plane_address(), "--admin", ADMIN]);
        command.arg("--config-dir").arg(self.folder.config()).arg("--ca-dir").arg(self.ca_dir());
        command.args(&self.options.control_plane);
        self.control_plane = Some(Process::start("control-plane", &self.home, self.folder.path(), &mut command));
        wait::until_true("the control plane is ready", || {
            self.control_plane_get("/ready").is_some_and(|r| r.status == 200)
        });
    }

    /// The control plane's process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn control_plane(&mut self) -> &mut Process {
        self.control_plane.as_mut().expect("the control plane runs")
    }

    /// Kills the control plane (SIGKILL).
    pub fn kill_control_plane(&mut self) {
        self.control_plane = None;
    }

    /// Where the control plane listens.
    #[must_use]
    pub fn control_plane_address(&self) -> String {
        if self.options.ipv6 { format!("[{}]:{PORT}", self.home.v6()) } else { format!("{}:{PORT}", self.home.v4()) }
    }

    /// Reads a page of the control plane's admin endpoints; `None` when it does not answer.
    #[must_use]
    pub fn control_plane_get(&self, path: &str) -> Option<client::Response> {
        self.home.run(|| client::try_get(&format!("http://{ADMIN}{path}"))).ok()?.ok()
    }

    /// The namespace of the control plane: for callers that are no pods.
    #[must_use]
    pub fn home(&self) -> &Namespace {
        &self.home
    }

    /// The CA's directory.
    #[must_use]
    pub fn ca_dir(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    /// The test's folder, for files of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Mints a join token for a workload of the namespace `shop`.
    ///
    /// # Panics
    /// When the control plane's command fails.
    #[must_use]
    pub fn token(&self, workload: &str) -> String {
        self.token_of(SHOP, workload)
    }

    pub(crate) fn token_of(&self, namespace: &str, workload: &str) -> String {
        let mut command = Command::new(binary());
        command.args(["control-plane", "token", &format!("{namespace}/{workload}"), "--ca-dir"]).arg(self.ca_dir());
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "token: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes a namespace without a sidecar.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn bare(&mut self, name: &str) -> Namespace {
        self.pods += 1;
        let [third, last] = self.pods.to_be_bytes();
        self.network.namespace(name, Ipv4Addr::new(10, 77, third, last), v6(self.pods)).expect("a namespace")
    }

    /// Makes a pod with a sidecar that is ready: the workload `shop/<name>` with label `app: <app>` and the service
    /// account `<app>`.
    pub fn pod(&mut self, name: &str, app: &str) -> Pod {
        self.pod_with(name, app, "", &[])
    }

    /// As [`Mesh::pod`], with more lines for the Workload's `metadata` (such as annotations) and more arguments for
    /// the sidecar.
    pub fn pod_with(&mut self, name: &str, app: &str, metadata: &str, args: &[&str]) -> Pod {
        let namespace = self.bare(name);
        self.write(&format!("{name}.yaml"), &crate::yaml::workload(name, app, &namespace.v4().to_string(), metadata));
        Pod::start(self, namespace, (SHOP, name), &Exempt::Mark, args)
    }

    /// As [`Mesh::pod`], of another namespace than `shop`.
    pub fn pod_elsewhere(&mut self, namespace: &str, name: &str, app: &str) -> Pod {
        let place = self.bare(name);
        let yaml = crate::yaml::workload(name, app, &place.v4().to_string(), "");
        self.write(&format!("{name}.yaml"), &yaml.replace("namespace: shop", &format!("namespace: {namespace}")));
        Pod::start(self, place, (namespace, name), &Exempt::Mark, &[])
    }

    /// Makes a pod of a namespace that exists; its Workload is in the mesh's folder already.
    pub fn pod_in(&mut self, namespace: Namespace, name: &str, args: &[&str]) -> Pod {
        Pod::start(self, namespace, (SHOP, name), &Exempt::Mark, args)
    }

    /// As [`Mesh::pod`], but the capture tells the sidecar's packets by its user id.
    pub fn pod_by_user(&mut self, name: &str, app: &str, uid: u32) -> Pod {
        let namespace = self.bare(name);
        self.write(&format!("{name}.yaml"), &crate::yaml::workload(name, app, &namespace.v4().to_string(), ""));
        Pod::start(self, namespace, (SHOP, name), &Exempt::User(uid), &[])
    }

    /// The trust anchors, as a ConfigMap would carry them: readable by every user.
    pub(crate) fn trust_anchors(&self) -> PathBuf {
        let copy = self.folder.path().join("trust-anchors.pem");
        fs::copy(self.ca_dir().join("root.pem"), &copy).expect("the CA has a root");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&copy, mode).expect("the folder is writable");
        copy
    }
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

/// A folder in memory, so that a sidecar may keep its key there; it goes with the value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = PathBuf::from(
            format!("/dev/shm/outrigger-test-{}-{:?}", std::process::id(), std::time::Instant::now())
                .replace(['{', '}', ' ', ':', ','], ""),
        );
        fs::create_dir_all(&path).expect("/dev/shm is writable");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn config(&self) -> PathBuf {
        self.0.join("config")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in memory and named after the test; nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}
