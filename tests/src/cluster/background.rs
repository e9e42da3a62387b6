//! Requests that go on beside every test that shares the cluster, in a namespace of their own: whatever a test does, others
//! must not notice.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, PATIENCE, Workload, service};

/// A test's part in the load: it runs as long as somebody has one.
#[derive(Debug)]
pub(super) struct Background {
    cluster: &'static Cluster,
    seen: Arc<Mutex<Value>>,
    before: Value,
}

impl Background {
    /// Starts the load when it does not run.
    pub(super) fn join(cluster: &'static Cluster) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let load = running.get_or_insert_with(|| Running::start(cluster));
        load.users += 1;
        let seen = Arc::clone(&load.seen);
        let before = last(&seen);
        Self { cluster, seen, before }
    }

    /// What went wrong since [`Background::join`], if anything did.
    pub(super) fn failed(&self) -> Option<String> {
        let now = last(&self.seen);
        let count = |of: &Value, what: &str| of[what].as_u64().unwrap_or_default();
        let failed = count(&now, "failed") - count(&self.before, "failed");
        (failed > 0).then(|| format!("{failed} requests of others failed meanwhile: {now}"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(load) = running.as_mut() else { return };
        load.users -= 1;
        if load.users == 0 {
            // The load ends with its standard input.
            drop(load.client.stdin.take());
            let _ = load.client.wait();
            let _ = self.cluster.kubectl(["delete", "namespace", NAMESPACE, "--wait=false"]).output();
            *running = None;
        }
    }
}

#[derive(Debug)]
struct Running {
    users: usize,
    client: Child,
    seen: Arc<Mutex<Value>>,
}

impl Running {
    fn start(cluster: &'static Cluster) -> Self {
        // An earlier one may still be on its way out.
        cluster.run(["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=90s"]);
        cluster.run(["create", "namespace", NAMESPACE]);
        cluster.run(["label", "namespace", NAMESPACE, "outrigger.io/inject=enabled"]);
        let workloads = [Workload::new("web").replicas(2), Workload::new("client")];
        for workload in &workloads {
            let mut apply = cluster.kubectl(["-n", NAMESPACE]);
            let manifest = workload.yaml() + &service(workload.name(), "");
            let output = super::feed(apply.args(["apply", "-f", "-"]), &manifest);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        workloads.iter().for_each(|workload| cluster.rolled_out(NAMESPACE, &workload.reference()));
        let mut command = cluster.kubectl(["-n", NAMESPACE, "exec", "-i", "deployment/client", "-c", "app", "--"]);
        command.args(["/test-app", "load", "-until-eof", "-progress", "200ms", "-url", "http://web/", "-rate", RATE]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut client = command.spawn().expect("kubectl starts");
        let lines = BufReader::new(client.stdout.take().expect("stdout is a pipe")).lines();
        let seen = Arc::new(Mutex::new(Value::Null));
        let told = Arc::clone(&seen);
        // Ends with the client.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = value;
                }
            }
        });
        let start = Instant::now();
        while last(&seen)["requests"].as_u64().is_none_or(|requests| requests < 10) {
            assert!(start.elapsed() < PATIENCE, "the load beside the tests does not begin: {}", last(&seen));
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { users: 0, client, seen }
    }
}

fn last(seen: &Mutex<Value>) -> Value {
    seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);
const NAMESPACE: &str = "test-load";
/// Requests a second: enough to notice a gap of a tenth of a second, and little beside what tests do.
const RATE: &str = "20";
