//! What watching a large cluster costs the control plane: thousands of pods in the API server, their changes, and the start
//! of a replica that has to read them all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::api::{Api, Namespace, PATIENCE};
use super::memory::{CONTROL_PLANE, container_id, of_container, services};
use super::{Figure, fake};
use crate::histogram::Histogram;
use crate::process::Pid;
use crate::report::mib;

/// Fills the cluster with pods, changes some, starts the control plane anew.
pub(super) async fn measure(api: &Api, pods: u32) -> Result<Vec<Figure>> {
    let namespace = Namespace::make(api, "outrigger-bench-watch").await?;
    let measured = in_namespace(api, &namespace, pods).await;
    namespace.remove(api).await?;
    measured
}

async fn in_namespace(api: &Api, namespace: &Namespace, pods: u32) -> Result<Vec<Figure>> {
    let before = Replica::find(api).await?;
    let known = before.pods().await?;
    let (resident, cpu) = (mib(before.pid.memory()?.resident_kib), before.pid.cpu_of_all()?);
    services(api, namespace).await?;
    let began = Instant::now();
    let start = async |number| {
        fake::pod(api, namespace, number).await?;
        fake::runs(api, namespace, number).await
    };
    futures_util::stream::iter(0..pods).map(start).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let created = began.elapsed();
    before.knows(known + u64::from(pods)).await?;
    let behind = began.elapsed() - created;
    sleep(SETTLE).await;
    let spent = before.pid.cpu_of_all()? - cpu;
    let with_pods = mib(before.pid.memory()?.resident_kib);

    let mut noticed = Histogram::default();
    for number in (0..pods).step_by((pods / CHANGES).max(1) as usize) {
        let version = before.snapshot().await?;
        let began = Instant::now();
        let labels = json!({"metadata": {"labels": {"changed": "yes"}}});
        api.patch(&namespace.of(&format!("pods/web-{number}")), &labels).await?;
        while before.snapshot().await? == version {
            ensure!(began.elapsed() < PATIENCE, "a changed pod makes no snapshot");
            sleep(Duration::from_millis(1)).await;
        }
        noticed.record(began.elapsed());
        sleep(PAUSE).await;
    }

    api.delete(&format!("{SYSTEM}/pods/{}", before.name)).await?;
    let began = Instant::now();
    let after = loop {
        ensure!(began.elapsed() < PATIENCE, "no other control plane starts");
        if let Ok(replica) = Replica::find(api).await
            && replica.name != before.name
        {
            break replica;
        }
        sleep(Duration::from_millis(100)).await;
    };
    after.knows(known + u64::from(pods)).await?;
    let log = api.text(&format!("{SYSTEM}/pods/{}/log?container={CONTROL_PLANE}", after.name)).await?;
    let reading = said(&log, "initial list of all objects complete")? - said(&log, "control plane started")?;
    let peak = mib(after.pid.memory()?.peak_kib);
    let pods = f64::from(pods);
    Ok(vec![
        Figure::told("pods in the API server", pods, ""),
        Figure::told("started in a second, each by two requests", pods / created.as_secs_f64(), ""),
        Figure::told("control plane: last pod known after its last request", behind.as_secs_f64() * 1e3, "ms"),
        Figure::told("control plane: CPU of a pod that starts", spent.as_secs_f64() * 1e3 / pods, "ms"),
        Figure::told("control plane: memory (RSS) before", resident, "MiB"),
        Figure::told("control plane: memory (RSS) with all pods", with_pods, "MiB"),
        Figure::told("a pod changed: a snapshot with it (median)", noticed.micros_at(0.5) / 1e3, "ms"),
        Figure::limited("a pod changed: a snapshot with it (p99)", noticed.micros_at(0.99) / 1e3, "ms", 500.0),
        Figure::told("another replica: all objects read after", reading * 1e3, "ms"),
        Figure::told("another replica: most memory while it read (RSS)", peak, "MiB"),
    ])
}

/// A control plane in its pod.
struct Replica {
    name: String,
    pid: Pid,
    admin: SocketAddr,
}

impl Replica {
    /// Finds the replica, which must be the only one.
    async fn find(api: &Api) -> Result<Self> {
        let pods = api.get(&format!("{SYSTEM}/pods")).await?;
        let pods = pods["items"].as_array().into_iter().flatten();
        let live = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let planes: Vec<(&Value, String)> =
            live.filter_map(|pod| Some((pod, container_id(pod, CONTROL_PLANE)?))).collect();
        let [(pod, id)] = planes.as_slice() else {
            anyhow::bail!("{} control planes run: one is needed for this, see `outrigger install`", planes.len());
        };
        let text = |value: &Value| value.as_str().map(str::to_owned).context("the pod has no name or no address");
        let address: std::net::IpAddr = text(&pod["status"]["podIP"])?.parse()?;
        Ok(Self {
            name: text(&pod["metadata"]["name"])?,
            pid: of_container(id)?,
            admin: SocketAddr::new(address, ADMIN),
        })
    }

    /// Waits until it knows of so many pods.
    async fn knows(&self, pods: u64) -> Result<()> {
        let began = Instant::now();
        while self.pods().await.unwrap_or_default() < pods {
            ensure!(began.elapsed() < PATIENCE, "the control plane does not hear of {pods} pods");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn pods(&self) -> Result<u64> {
        let config: Value = serde_json::from_str(&self.page("/config").await?)?;
        config["counts"]["Pod"].as_u64().context("/config does not count pods")
    }

    async fn snapshot(&self) -> Result<u64> {
        let page = self.page("/metrics").await?;
        let line = page.lines().find_map(|line| line.strip_prefix("outrigger_control_snapshot_version "));
        Ok(line.context("no metric of snapshots")?.trim().parse()?)
    }

    async fn page(&self, path: &str) -> Result<String> {
        let mut io = TcpStream::connect(self.admin).await.with_context(|| format!("connect {}", self.admin))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        let (_, page) = answer.split_once("\r\n\r\n").context("no page")?;
        Ok(page.to_owned())
    }
}

/// When the log says this, in seconds.
fn said(log: &str, message: &str) -> Result<f64> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let time = lines.filter(|line| line["message"] == message).find_map(|line| {
        let time: jiff::Timestamp = line["timestamp"].as_str()?.parse().ok()?;
        Some(time.as_duration().as_secs_f64())
    });
    time.with_context(|| format!("the control plane's log does not say {message:?}"))
}

const SYSTEM: &str = "/api/v1/namespaces/outrigger-system";
const ADMIN: u16 = 4182;
/// Requests that the API server works on together.
const AT_ONCE: usize = 16;
/// Pods that are changed one after the other.
const CHANGES: u32 = 100;
/// Longer than the longest pause between two snapshots.
const PAUSE: Duration = Duration::from_millis(300);
/// Until what Kubernetes makes of the pods is made.
const SETTLE: Duration = Duration::from_secs(10);
