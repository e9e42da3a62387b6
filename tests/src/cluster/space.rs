//! A test's own namespace.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::background::Background;
use super::{Alone, Cluster, PATIENCE, Shared, Workload, succeeds};

/// A namespace that goes, with all that is in it, when it is dropped. Unless the test has the cluster to itself, requests of
/// others go on beside it, and the test fails when one of those does.
#[derive(Debug)]
pub struct Space {
    cluster: &'static Cluster,
    name: String,
    others: Option<Background>,
    // Held until the namespace is on its way out, and the last to go.
    _shared: Option<Shared>,
}

impl Space {
    /// A namespace whose pods are meshed. `None` where there is no cluster: the test is skipped.
    #[must_use]
    pub fn meshed() -> Option<Self> {
        let space = Self::plain()?;
        space.label("outrigger.io/inject=enabled");
        Some(space)
    }

    /// A namespace that the mesh leaves alone. `None` where there is no cluster: the test is skipped.
    #[must_use]
    pub fn plain() -> Option<Self> {
        let (cluster, shared) = super::enter()?;
        Some(Self::new(cluster, Some(shared)))
    }

    /// A meshed namespace of a test that has the cluster to itself.
    #[must_use]
    pub fn within(cluster: &'static Cluster, _alone: &Alone) -> Self {
        let space = Self::new(cluster, None);
        space.label("outrigger.io/inject=enabled");
        space
    }

    fn new(cluster: &'static Cluster, shared: Option<Shared>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let others = shared.is_some().then(|| Background::join(cluster));
        cluster.run(["create", "namespace", &name]);
        Self { cluster, name, others, _shared: shared }
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// Labels the namespace, as `name=value`, or `name-` to take one away.
    ///
    /// # Panics
    /// When it is refused.
    pub fn label(&self, label: &str) {
        self.cluster.run(["label", "namespace", &self.name, label, "--overwrite"]);
    }

    /// A kubectl for this namespace.
    #[must_use]
    pub fn kubectl<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.cluster.kubectl(["-n", &self.name]);
        command.args(args);
        command
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn text<const N: usize>(&self, args: [&str; N]) -> String {
        succeeds(&mut self.kubectl(args))
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

    /// Applies a manifest to this namespace.
    ///
    /// # Panics
    /// When it is refused.
    pub fn apply(&self, manifest: &str) {
        let mut file = std::env::temp_dir();
        file.push(format!("outrigger-{}-{:?}.yaml", self.name, std::thread::current().id()));
        std::fs::write(&file, manifest).expect("the temporary folder is writable");
        let output = self.kubectl(["apply", "-f"]).arg(&file).output().expect("kubectl runs");
        let _ = std::fs::remove_file(&file);
        assert!(output.status.success(), "{}\n{manifest}", String::from_utf8_lossy(&output.stderr));
    }

    /// Applies workloads, each with a Service of its name, and waits until all have rolled out.
    ///
    /// # Panics
    /// When one does not.
    pub fn deploy<const N: usize>(&self, workloads: [Workload<'_>; N]) {
        let yaml: String =
            workloads.iter().map(|workload| workload.yaml() + &super::service(workload.name(), "")).collect();
        self.apply(&yaml);
        workloads.iter().for_each(|workload| self.rolled_out(&workload.reference()));
    }

    /// Waits until `deployment/web` or the like has rolled out.
    ///
    /// # Panics
    /// When it does not.
    pub fn rolled_out(&self, workload: &str) {
        self.cluster.rolled_out(&self.name, workload);
    }

    /// Restarts a workload and waits until that is done.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self, workload: &str) {
        self.text(["rollout", "restart", workload]);
        self.rolled_out(workload);
    }

    /// The pods of an application that are not on their way out.
    #[must_use]
    pub fn pods(&self, app: &str) -> Vec<Value> {
        let pods = self.json(["get", "pods", "-l", &format!("app={app}")]);
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
    }

    /// Runs the test application once more, inside a pod of this workload, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn exec<const N: usize>(&self, workload: &str, args: [&str; N]) -> String {
        succeeds(&mut self.exec_command(workload, args))
    }

    /// The command of [`Space::exec`].
    #[must_use]
    pub fn exec_command<const N: usize>(&self, workload: &str, args: [&str; N]) -> Command {
        let mut command = self.kubectl(["exec", workload, "-c", "app", "--", "/test-app"]);
        command.args(args);
        command
    }

    /// Asks a URL from inside a pod of this workload: `status`, `headers` and `body` of the answer.
    ///
    /// # Panics
    /// When nothing answers.
    #[must_use]
    pub fn get(&self, from: &str, url: &str) -> Value {
        let text = self.exec(from, ["client", "-retry-for", "15s", url]);
        serde_json::from_str(&text).expect("the client prints JSON")
    }

    /// What the server saw of a request, from inside a pod of this workload.
    ///
    /// # Panics
    /// When the answer is no 200 of the test application.
    #[must_use]
    pub fn seen(&self, from: &str, url: &str) -> Value {
        let answer = self.get(from, url);
        assert_eq!(answer["status"], 200, "{from} to {url}: {answer:#}");
        serde_json::from_str(answer["body"].as_str().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {answer:#}"))
    }

    /// The sum of a metric of the sidecar beside this workload's application, over all series with these labels.
    ///
    /// # Panics
    /// When the pod has no sidecar.
    #[must_use]
    pub fn metric(&self, of: &str, name: &str, labels: &[&str]) -> f64 {
        let answer = self.get(of, "http://127.0.0.1:4191/metrics");
        let page = answer["body"].as_str().unwrap_or_default();
        let series = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until `check` gives a value.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn eventually<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = check() {
                return value;
            }
            if start.elapsed() > PATIENCE {
                let pods = self.text(["get", "pods", "-o", "wide"]);
                panic!("waited {PATIENCE:?} for: {what}\n{pods}");
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Starts a steady load from inside a pod of this workload, for so long.
    #[must_use]
    pub fn load(&self, from: &str, url: &str, rate: u32, seconds: u32) -> Load {
        let (rate, duration) = (rate.to_string(), format!("{seconds}s"));
        let mut command = self.exec_command(from, ["load", "-url", url, "-rate", &rate, "-duration", &duration]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
        Load { child }
    }

    /// As [`Space::load`], until [`Load::stop`].
    #[must_use]
    pub fn load_until_stopped(&self, from: &str, url: &str, rate: u32) -> Load {
        let rate = rate.to_string();
        let mut command = self.kubectl(["exec", "-i", from, "-c", "app", "--", "/test-app", "load", "-until-eof"]);
        command.args(["-url", url, "-rate", &rate]).stdin(Stdio::piped());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
        Load { child }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a reader of the failure needs and could not ask for later.
            let pods = self.kubectl(["get", "pods", "-o", "wide"]).output();
            let logs = self.kubectl(["logs", "-l", "app", "-c", "outrigger-sidecar", "--tail=20", "--prefix"]).output();
            for output in [pods, logs].into_iter().flatten() {
                eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            }
        }
        let _ = self.cluster.kubectl(["delete", "namespace", &self.name, "--wait=false"]).output();
        if !std::thread::panicking() {
            let failed = self.others.as_ref().and_then(Background::failed);
            assert!(failed.is_none(), "{}", failed.unwrap_or_default());
        }
    }
}

/// A steady load. One without a duration ends with the test at the latest: its standard input does.
#[derive(Debug)]
pub struct Load {
    child: Child,
}

impl Load {
    /// Ends a load that has no duration, and returns its outcome.
    ///
    /// # Panics
    /// As [`Load::outcome`].
    #[must_use]
    pub fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        self.outcome()
    }

    /// Waits for its end and returns its outcome: `requests`, `failed`, `statuses`, `errors`, `pods`.
    ///
    /// # Panics
    /// When it printed none.
    #[must_use]
    pub fn outcome(self) -> Value {
        let output = self.child.wait_with_output().expect("kubectl ends");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits for its end and asserts that there were requests and none failed.
    ///
    /// # Panics
    /// When one did.
    pub fn lost_nothing(self, at_least: u64) {
        let outcome = self.outcome();
        assert_eq!(outcome["failed"], 0, "{outcome:#}");
        assert!(outcome["requests"].as_u64().is_some_and(|requests| requests >= at_least), "{outcome:#}");
    }
}
