//! What competes: nothing at all, Outrigger, Envoy; each with two pods of its own, all started alike.

mod envoy;
mod outrigger;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use crate::cases::Case;
use crate::load::Outcome;
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
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Outrigger, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Outrigger => "outrigger",
            Self::Envoy => "envoy",
        }
    }
}

/// A contender at work. Its processes end with this.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    sidecars: Option<Sidecars>,
    bench: PathBuf,
    pods: Pods,
    _running: Vec<Child>,
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
    pub(crate) async fn start(kind: Kind, folder: &Path) -> Result<Self> {
        let folder = folder.join(kind.name());
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let bench = folder.join("bench");
        std::fs::copy(std::env::current_exe()?, &bench).context("copy the bench program")?;
        let pods = Pods::make(kind.name()).await?;
        let app = pods
            .command(Place::B, User::App, &bench)
            .args(["echo", "--listen", &SocketAddr::from(([0, 0, 0, 0], pods::APP.port())).to_string()])
            .spawn()
            .context("start the app")?;
        let Started { version, sidecars, others } = match kind {
            Kind::Direct => Started { version: String::new(), sidecars: None, others: Vec::new() },
            Kind::Outrigger => outrigger::start(&pods, &folder).await?,
            Kind::Envoy => envoy::start(&pods, &folder).await?,
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
        let contender = Self { kind, version, sidecars, bench, pods, _running: running };
        contender.wait_until_it_answers().await?;
        Ok(contender)
    }

    /// Runs one case.
    pub(crate) async fn measure(&self, case: &Case, warmup: f64, window: f64) -> Result<Outcome> {
        let mut command = self.load(case.connections, warmup, window);
        command.args(["--bytes", &case.bytes.to_string()]);
        if let Some(rate) = case.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if let Some(Sidecars { outbound, inbound }) = self.sidecars {
            command.args(["--pids", &format!("{},{}", outbound.0, inbound.0)]);
        }
        answer(&mut command).await.with_context(|| format!("{} on {}", case.name, self.kind.name()))
    }

    /// What an eavesdropper between the pods sees while requests pass.
    pub(crate) async fn eavesdrop(&self) -> Result<Seen> {
        let marker = format!("marker-of-{}", self.kind.name());
        let mut sniff = self.pods.command(Place::B, User::Root, &self.bench);
        sniff.args(["sniff", "--seconds", "1.5", "--marker", &marker]);
        let mut load = self.load(1, 0.0, 1.0);
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
        command.args(["hold", "--target", &self.target().to_string(), "--connections", &connections.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start the idle client")
    }

    fn load(&self, connections: usize, warmup: f64, window: f64) -> Command {
        let mut command = self.pods.command(Place::A, User::App, &self.bench);
        command.args(["load", "--target", &self.target().to_string(), "--connections", &connections.to_string()]);
        command.args(["--warmup", &warmup.to_string(), "--window", &window.to_string()]);
        command
    }

    fn target(&self) -> SocketAddr {
        match self.kind {
            Kind::Direct => pods::APP,
            Kind::Outrigger | Kind::Envoy => pods::SERVICE,
        }
    }

    async fn wait_until_it_answers(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let mut probe = self.load(1, 0.0, 0.05);
            let Err(error) = answer::<Outcome>(probe.stderr(Stdio::null())).await else { return Ok(()) };
            if Instant::now() > deadline {
                return Err(error.context(format!("{} does not answer after 20 s", self.kind.name())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
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
