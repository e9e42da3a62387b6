//! What competes: nothing at all, Outrigger, Envoy, and bare proxies as floors; each with two pods of its own, all started alike.

mod authority;
mod envoy;
pub(crate) mod floor;
mod outrigger;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use crate::cases::{CASES, Case, World};
use crate::load::{Outcome, Shape};
use crate::pods::{self, Place, Pods, User};
use crate::process::{Memory, Pid};
use crate::sniff::Seen;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// No sidecar: client and server alone.
    Direct,
    /// Ours.
    Outrigger,
    /// Envoy, as a mesh would configure it.
    Envoy,
    /// The least that encrypts: bytes copied over rustls, a TLS connection for each of the app's.
    #[value(name = "floor-bytes")]
    #[serde(rename = "floor-bytes")]
    FloorBytes,
    /// The least that knows requests: hyper, over pooled rustls connections.
    #[value(name = "floor-http")]
    #[serde(rename = "floor-http")]
    FloorHttp,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Direct, Self::Outrigger, Self::Envoy, Self::FloorBytes, Self::FloorHttp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Outrigger => "outrigger",
            Self::Envoy => "envoy",
            Self::FloorBytes => "floor-bytes",
            Self::FloorHttp => "floor-http",
        }
    }
}

/// What is special about a run of ours; by default nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Special {
    pub(crate) runner: Runner,
    /// Services in the mesh that nobody calls.
    pub(crate) other_services: u32,
}

/// What the sidecars run below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Nothing.
    #[default]
    None,
    /// Valgrind's callgrind, which counts instructions. What it found is in each sidecar's folder, as [`CALLGRIND_OUT`].
    Callgrind,
}

/// A contender at work. Its processes end with this.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    sidecars: Option<Sidecars>,
    bench: PathBuf,
    /// For the files of this run.
    folder: PathBuf,
    pods: Pods,
    running: Vec<Child>,
}

/// The two that are measured.
#[derive(Debug, Clone, Copy)]
struct Sidecars {
    outbound: Pid,
    inbound: Pid,
}

/// What starting a contender gives.
struct Started {
    version: String,
    sidecars: Option<(Child, Child)>,
    others: Vec<Child>,
}

/// Memory of both sidecars.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PairMemory {
    pub(crate) outbound: Memory,
    pub(crate) inbound: Memory,
}

impl PairMemory {
    pub(crate) fn resident_kib(self) -> u64 {
        self.outbound.resident_kib + self.inbound.resident_kib
    }
}

impl Contender {
    /// Starts one; `folder` is for its files and is readable by every user.
    pub(crate) async fn start(kind: Kind, folder: &Path, special: Special) -> Result<Self> {
        let folder = folder.join(kind.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let bench = folder.join("bench");
        std::fs::copy(std::env::current_exe()?, &bench).context("copy the bench program")?;
        let pods = Pods::make(kind.name()).await?;
        let app = pods
            .command(Place::B, User::App, &bench)
            .args(["echo", "--listen", "0.0.0.0"])
            .spawn()
            .context("start the app")?;
        let Started { version, sidecars, others } = match kind {
            Kind::Direct => Started { version: String::new(), sidecars: None, others: Vec::new() },
            Kind::Outrigger => outrigger::start(&pods, &folder, special).await?,
            Kind::Envoy => envoy::start(&pods, &folder).await?,
            Kind::FloorBytes => floor::start(&pods, &folder, &bench, floor::Mode::Bytes).await?,
            Kind::FloorHttp => floor::start(&pods, &folder, &bench, floor::Mode::Http).await?,
        };
        let mut running = others;
        running.push(app);
        let sidecars = match sidecars {
            None => None,
            Some((outbound, inbound)) => {
                let pids = Sidecars { outbound: pid(&outbound)?, inbound: pid(&inbound)? };
                running.extend([outbound, inbound]);
                Some(pids)
            }
        };
        let contender = Self { kind, version, sidecars, bench, folder, pods, running };
        contender.wait_until_it_answers().await?;
        Ok(contender)
    }

    /// Whether it can do this case at all.
    pub(crate) fn can(&self, case: &Case) -> bool {
        match self.kind {
            Kind::Direct | Kind::FloorBytes | Kind::FloorHttp => case.world == World::Plain,
            Kind::Outrigger | Kind::Envoy => true,
        }
    }

    /// Runs one case.
    pub(crate) async fn measure(&self, case: &Case, warmup: f64, window: f64) -> Result<Outcome> {
        let mut command = self.load(case, warmup, window);
        if let Some(Sidecars { outbound, inbound }) = self.sidecars {
            command.args(["--pids", &format!("{},{}", outbound.0, inbound.0)]);
        }
        answer(&mut command).await.with_context(|| format!("{} on {}", case.name, self.kind.name()))
    }

    /// Asks this many times and does not look at the clock.
    pub(crate) async fn ask(&self, case: &Case, requests: u64) -> Result<()> {
        let mut command = self.load(case, 0.0, 0.0);
        let outcome: Outcome = answer(command.args(["--requests", &requests.to_string()])).await?;
        ensure!(outcome.errors == 0 && outcome.requests == requests, "{}: {outcome:?}", case.name);
        Ok(())
    }

    /// Ends both sidecars in good order, and gives the folders of their files (ours only).
    pub(crate) async fn end_sidecars(mut self) -> Result<[PathBuf; 2]> {
        let Sidecars { outbound, inbound } = self.sidecars.context("no sidecars")?;
        for pid in [outbound, inbound] {
            let child = self.running.iter_mut().find(|child| child.id() == Some(pid.0)).context("a sidecar ended")?;
            let pid = i32::try_from(pid.0).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            let status = child.wait().await?;
            ensure!(status.success(), "a sidecar ended with {status}");
        }
        Ok([outrigger::CLIENT, outrigger::SERVER].map(|workload| self.folder.join(workload)))
    }

    /// System calls per request, both sidecars together; `None` without sidecars, or without perf.
    pub(crate) async fn syscalls(&self, case: &Case) -> Result<Option<f64>> {
        let Some(Sidecars { outbound, inbound }) = self.sidecars else { return Ok(None) };
        let mut load = self.load(case, 0.5, 1.0);
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &format!("{},{}", outbound.0, inbound.0)]);
        // Until the load ends, its warm-up included: what is counted is divided by all requests.
        perf.args(["sleep", "1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let counted = async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            anyhow::Ok(perf.output().await.ok())
        };
        let (outcome, counted) = tokio::try_join!(answer::<Outcome>(&mut load), counted)?;
        let Some(output) = counted.filter(|output| output.status.success()) else { return Ok(None) };
        let said = String::from_utf8_lossy(&output.stderr);
        let count = said.lines().find(|line| line.contains("raw_syscalls")).and_then(|line| line.split(',').next());
        let calls = count.and_then(|count| count.parse::<f64>().ok());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
        Ok(calls.map(|calls| calls / (outcome.requests as f64 / outcome.seconds)))
    }

    /// What an eavesdropper between the pods sees while requests pass.
    pub(crate) async fn eavesdrop(&self) -> Result<Seen> {
        let marker = format!("marker-of-{}", self.kind.name());
        let mut sniff = self.pods.command(Place::B, User::Root, &self.bench);
        sniff.args(["sniff", "--seconds", "1.5", "--marker", &marker]);
        let mut load = self.load(&CASES[0], 0.0, 1.0);
        load.args(["--rate", "200", "--marker", &marker]);
        let (seen, outcome) = tokio::try_join!(answer::<Seen>(&mut sniff), answer::<Outcome>(&mut load))?;
        if outcome.errors > 0 {
            bail!("{}: {:?}", self.kind.name(), outcome.first_error);
        }
        Ok(seen)
    }

    /// Memory of the sidecars now.
    pub(crate) fn memory(&self) -> Result<Option<PairMemory>> {
        let Some(Sidecars { outbound, inbound }) = self.sidecars else { return Ok(None) };
        Ok(Some(PairMemory { outbound: outbound.memory()?, inbound: inbound.memory()? }))
    }

    /// Opens connections through the sidecars and keeps them idle until the child's stdin is dropped.
    pub(crate) fn hold(&self, connections: usize) -> Result<Child> {
        let mut command = self.pods.command(Place::A, User::App, &self.bench);
        let target = self.target(&CASES[0]).to_string();
        command.args(["hold", "--target", &target, "--connections", &connections.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the idle client")
    }

    fn load(&self, case: &Case, warmup: f64, window: f64) -> Command {
        let mut command = self.pods.command(Place::A, User::App, &self.bench);
        command.args(["load", "--target", &self.target(case).to_string(), "--shape", &case.shape.name()]);
        command.args(["--connections", &case.connections.to_string(), "--bytes", &case.bytes.to_string()]);
        command.args(["--warmup", &warmup.to_string(), "--window", &window.to_string()]);
        if let Some(rate) = case.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if case.world == World::Rules {
            command.args(["--path", &format!("/r{}", RULES - 1)]);
        }
        command
    }

    fn target(&self, case: &Case) -> SocketAddr {
        let port = match case.shape {
            Shape::Http1 | Shape::Http1Fresh => pods::HTTP,
            Shape::Grpc | Shape::GrpcStream => pods::GRPC,
            Shape::Bytes | Shape::BytesFresh | Shape::Upload | Shape::Download => pods::BYTES,
        };
        match (self.kind, case.world) {
            (Kind::Direct, _) => (pods::APP, port.app).into(),
            (_, World::Plain) => (pods::SERVICE, port.service).into(),
            (_, World::Endpoints) => (pods::MANY_ENDPOINTS, port.service).into(),
            (_, World::Rules) => (pods::MANY_RULES, port.service).into(),
        }
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut probe = self.load(&CASES[0], 0.0, 0.0);
            let probe = probe.args(["--requests", "1"]).stderr(Stdio::null());
            let Err(error) = answer::<Outcome>(probe).await else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(error.context(format!("{} does not answer after {PATIENCE:?}", self.kind.name())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Callgrind's file.
pub(crate) const CALLGRIND_OUT: &str = "callgrind.out";

/// How long a contender may take until it answers; below callgrind it takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// Endpoints of [`World::Endpoints`].
const ENDPOINTS: u32 = 1000;

/// Rules of [`World::Rules`].
const RULES: u32 = 1000;

/// The address of one of the thousand endpoints.
fn endpoint(number: u32) -> std::net::Ipv4Addr {
    // From .1 on: the first address of the range is no host's.
    std::net::Ipv4Addr::from_bits(pods::ENDPOINTS.to_bits() + 1 + number)
}

/// Runs a part of this program and reads the one line that it prints.
async fn answer<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let output = command.stdout(Stdio::piped()).spawn()?.wait_with_output().await?;
    if !output.status.success() {
        bail!("a part of the bench ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("a part of the bench printed no JSON")
}

fn pid(child: &Child) -> Result<Pid> {
    Ok(Pid(child.id().context("a sidecar ended at once")?))
}

/// A program's version, for the report.
async fn version_of(program: &Path, argument: &str) -> Result<String> {
    let output =
        Command::new(program).arg(argument).output().await.with_context(|| format!("run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Runs a command that must succeed, and gives what it printed.
async fn succeed(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} ended with {}: {}", command.as_std().get_program(), output.status, said.trim());
    }
    Ok(output.stdout)
}
