//! A pod: a namespace, a sidecar in it, and whatever the test runs there.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};

use outrigger_sandbox::Namespace;
use serde_json::Value;

use crate::client::{self, Client, Response};
use crate::{Mesh, Process, binary, wait};

/// The mark that exempts the sidecar's own packets from the capture.
const MARK: &str = "0x4f52";

/// Where a sidecar's admin endpoints are, inside its pod.
const ADMIN: &str = "127.0.0.1:4191";

/// A pod with a sidecar. It derefs to its namespace.
#[derive(Debug)]
pub struct Pod {
    // Ends before the namespace goes.
    sidecar: Option<Process>,
    namespace: Namespace,
    name: String,
    args: Vec<String>,
    folder: PathBuf,
    uid: Option<u32>,
}

/// How the capture tells the sidecar's own packets.
pub(crate) enum Exempt {
    Mark,
    User(u32),
}

impl Pod {
    pub(crate) fn start(
        mesh: &Mesh,
        namespace: Namespace,
        workload: (&str, &str),
        exempt: &Exempt,
        args: &[&str],
    ) -> Self {
        let (of, name) = workload;
        let folder = mesh.folder().join(name);
        std::fs::create_dir(&folder).expect("the test's folder is writable");
        std::fs::write(folder.join("token"), mesh.token_of(of, name)).expect("the test's folder is writable");
        let mut all: Vec<String> =
            ["sidecar", "run", "--admin", ADMIN, "--access-log", "all"].map(str::to_owned).into();
        let mut option = |name: &str, value: String| all.extend([name.to_owned(), value]);
        option("--workload", format!("{of}/{name}"));
        option("--control-plane", mesh.control_plane_address());
        option("--trust-anchors", mesh.trust_anchors().display().to_string());
        option("--token-file", folder.join("token").display().to_string());
        option("--state-dir", folder.join("state").display().to_string());
        option("--log-filter", "info,outrigger_sidecar=debug".to_owned());
        for arg in args {
            // One that is given takes the place of the tests' own.
            if let Some(at) = all.iter().position(|own| own == arg && own.starts_with("--")) {
                all.drain(at..at + 2);
            }
            all.push((*arg).to_owned());
        }
        let mut pod = Self { sidecar: None, namespace, name: name.to_owned(), args: all, folder, uid: None };
        match exempt {
            Exempt::Mark => {
                pod.args.extend(["--mark", MARK].map(str::to_owned));
                pod.run(&["sidecar", "init", "--proxy-mark", MARK]);
            }
            Exempt::User(uid) => {
                pod.uid = Some(*uid);
                // The user must be able to write there; the folder above is the test's alone.
                let (path, mode) = (&pod.folder, std::os::unix::fs::PermissionsExt::from_mode(0o777));
                std::fs::set_permissions(path, mode).expect("the test's folder is writable");
                pod.run(&["sidecar", "init", "--proxy-uid", &uid.to_string()]);
            }
        }
        pod.start_sidecar();
        pod.ready();
        pod
    }

    /// Starts the sidecar (again), without waiting.
    pub fn start_sidecar(&mut self) {
        let (program, args) = self.program();
        let mut command = match self.uid {
            None => Command::new(program),
            Some(uid) => {
                // The target folder may be closed to that user.
                let copy = self.folder.join("outrigger");
                std::fs::copy(program, &copy).expect("the test's folder has room for the binary");
                let mut command = Command::new(copy);
                std::os::unix::process::CommandExt::uid(&mut command, uid);
                command
            }
        };
        command.args(args);
        let name = format!("sidecar-{}", self.name);
        self.sidecar = Some(Process::start(&name, &self.namespace, &self.folder, &mut command));
    }

    /// What runs the sidecar: the binary that has all, or a sidecar's own of another profile, which has no subcommand `sidecar`.
    fn program(&self) -> (PathBuf, &[String]) {
        match std::env::var_os("OUTRIGGER_POD_SIDECAR_BIN") {
            Some(sidecar) => (sidecar.into(), &self.args[1..]),
            None => (binary(), &self.args),
        }
    }

    /// Ends the sidecar and starts it again, by a shell that runs `first`: what limits the process. `settings` take the place
    /// of those that it had. Waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart_sidecar_under(&mut self, first: &str, settings: &[(&str, &str)]) {
        for (name, value) in settings {
            match self.args.iter().position(|arg| arg == name) {
                Some(at) => self.args[at + 1] = (*value).to_owned(),
                None => self.args.extend([*name, *value].map(str::to_owned)),
            }
        }
        self.sidecar = None;
        let (program, args) = self.program();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]).arg(program).args(args);
        let name = format!("sidecar-{}", self.name);
        self.sidecar = Some(Process::start(&name, &self.namespace, &self.folder, &mut command));
        self.ready();
    }

    /// Waits until the sidecar is ready.
    pub fn ready(&mut self) {
        let name = self.name.clone();
        wait::until_true(&format!("the sidecar of {name} is ready"), || {
            assert!(self.sidecar().alive(), "the sidecar of {name} has ended");
            self.admin("/ready").is_some_and(|response| response.status == 200)
        });
    }

    /// The sidecar's process.
    ///
    /// # Panics
    /// When it was taken away.
    pub fn sidecar(&mut self) -> &mut Process {
        self.sidecar.as_mut().expect("the sidecar runs")
    }

    /// Kills the sidecar (SIGKILL).
    pub fn kill_sidecar(&mut self) {
        self.sidecar = None;
    }

    /// Runs the pod's `preStop` hook: the sidecar's peers are told to leave.
    ///
    /// # Panics
    /// When the sidecar does not answer.
    pub fn leave(&self) {
        self.run(&["sidecar", "leave", "--admin", ADMIN]);
    }

    /// Reads a page of the sidecar's admin endpoints; `None` when it does not answer.
    #[must_use]
    pub fn admin(&self, path: &str) -> Option<Response> {
        self.namespace.run(|| client::try_get(&format!("http://{ADMIN}{path}"))).ok()?.ok()
    }

    /// The sidecar's `/config`.
    ///
    /// # Panics
    /// When the sidecar does not answer.
    #[must_use]
    pub fn config(&self) -> Value {
        let page = self.admin("/config").expect("the sidecar answers");
        serde_json::from_slice(&page.body).expect("/config is JSON")
    }

    /// The value of a metric: the sum of its series whose labels hold all of `labels` (as `name="value"`).
    ///
    /// # Panics
    /// When the sidecar does not answer.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = self.admin("/metrics").expect("the sidecar answers");
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// What the sidecar has logged, its access log included.
    #[must_use]
    pub fn log(&self) -> String {
        self.sidecar.as_ref().map(Process::output).unwrap_or_default()
    }

    /// The pod's address.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.namespace.v4()
    }

    /// The pod's folder, for files of the test's own.
    #[must_use]
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Sends one GET on a connection of its own.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, url: &str) -> Response {
        let got = self.namespace.run(|| client::try_get(url)).expect("a thread starts");
        got.unwrap_or_else(|error| panic!("GET {url} from {}: {error}", self.name))
    }

    /// Opens a connection that stays open.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn connect(&self, address: &str) -> Client {
        let opened = self.namespace.run(|| Client::connect(address)).expect("a thread starts");
        opened.unwrap_or_else(|error| panic!("connect to {address} from {}: {error}", self.name))
    }

    /// Runs `work` inside.
    ///
    /// # Panics
    /// When a thread cannot start.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work).expect("a thread starts")
    }

    /// Runs the product's binary inside to its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, args: &[&str]) {
        let output = self.output(Command::new(binary()).args(args));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs any program inside to its end.
    ///
    /// # Panics
    /// When it cannot start.
    pub fn output(&self, command: &mut Command) -> Output {
        let program = command.get_program().to_string_lossy().into_owned();
        let output = self.namespace.run(|| command.output()).expect("a thread starts");
        output.unwrap_or_else(|error| {
            panic!("{program}: {error} (is it installed? `cargo xtask test` installs what the tests need)")
        })
    }

    /// Runs a program inside and returns its stdout.
    ///
    /// # Panics
    /// When it fails.
    pub fn stdout(&self, program: &str, args: &[&str]) -> String {
        let output = self.output(Command::new(program).args(args));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a program inside that the test ends.
    #[must_use]
    pub fn start_program(&self, name: &str, command: &mut Command) -> Process {
        Process::start(name, &self.namespace, &self.folder, command)
    }
}

impl Deref for Pod {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}
