//! One replica of the control plane below thousands of sidecars: their connections, a storm of changes, their return.
//!
//! The control plane is the program itself, on a folder; sidecars are the client half of the protocol, each with a
//! connection, a certificate and subscriptions of its own, all in this process.

mod fleet;
mod world;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::data_plane::Folder;
use crate::histogram::Histogram;
use crate::plot::{self, Curve};
use crate::process::Pid;
use crate::report::mib;
use fleet::Fleet;
use world::World;

/// `outrigger-bench control-plane`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many sidecars, in steps.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 3000, 10_000])]
    sidecars: Vec<usize>,
    /// Services; each sidecar uses five of them.
    #[arg(long, default_value_t = 2000)]
    services: usize,
    /// Endpoints of all services together.
    #[arg(long, default_value_t = 50_000)]
    endpoints: usize,
    /// Changes of an endpoint in a second.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Seconds of changes at each step.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Writes tables and every figure into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

/// What was found with so many sidecars.
#[derive(Debug, Serialize)]
struct Step {
    sidecars: usize,
    /// Until all that were new had their configuration.
    connect_seconds: f64,
    resident_mib: f64,
    /// Beyond the objects and what is encoded of them, which all share.
    kib_per_sidecar: f64,
    /// CPU when nothing happens, per cent of one core.
    rest_percent: f64,
    changes: u32,
    /// From the change of the file to the last ack.
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    encoded_per_change: f64,
    cpu_ms_per_change: f64,
    /// All lose their connection at once, until all have come back.
    reconnect_seconds: f64,
    /// What a returning sidecar is sent.
    resume_bytes: f64,
}

/// Measures, prints; the status is 1 when a limit is missed.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let most = args.sidecars.iter().copied().max().unwrap_or_default();
    fleet::allow_descriptors()?;
    let folder = Folder::make()?;
    let folder = folder.path();
    let mut world = World::write(&folder.join("config"), args.services, args.endpoints, most)?;
    let began = Instant::now();
    let (plane, listen, admin) = start(folder).await?;
    let pid = Pid(plane.id().context("the control plane ended at once")?);
    eprintln!(
        "{} services, {} endpoints: read after {:.1} s",
        args.services,
        args.endpoints,
        began.elapsed().as_secs_f64()
    );
    let (mut fleet, signed) = Fleet::new(folder, listen, &world, most)?;
    // What all sidecars share is no sidecar's: the objects, and what is encoded of them when it is first asked for.
    fleet.ask_for_all(world.services()).await?;
    // By then what was only needed to read them has been given back.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = pid.memory()?.resident_kib;

    let mut steps = Vec::new();
    for &sidecars in &args.sidecars {
        eprintln!("{sidecars} sidecars");
        let began = Instant::now();
        fleet.grow(sidecars).await?;
        let connect_seconds = began.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let cpu = pid.cpu_of_all()?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let rest_percent = (pid.cpu_of_all()? - cpu).as_secs_f64() / 5.0 * 100.0;
        let resident = pid.memory()?.resident_kib;

        let (encoded_before, cpu) = (encoded(&mut world, admin).await?, pid.cpu_of_all()?);
        let latencies = change(&mut world, &mut fleet, args.rate, args.seconds).await?;
        let changes = args.rate * args.seconds;
        let cpu_ms_per_change = (pid.cpu_of_all()? - cpu).as_secs_f64() * 1e3 / f64::from(changes);
        let encoded_per_change = (encoded(&mut world, admin).await? - encoded_before) / f64::from(changes);

        let began = Instant::now();
        let bytes = fleet.reconnect().await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        steps.push(Step {
            sidecars,
            connect_seconds,
            resident_mib: mib(resident),
            kib_per_sidecar: resident.saturating_sub(before) as f64 / sidecars as f64,
            rest_percent,
            changes,
            p50_ms: latencies.micros_at(0.5) / 1e3,
            p99_ms: latencies.micros_at(0.99) / 1e3,
            longest_ms: latencies.micros_at(1.0) / 1e3,
            encoded_per_change,
            cpu_ms_per_change,
            reconnect_seconds: began.elapsed().as_secs_f64(),
            resume_bytes: bytes as f64 / sidecars as f64,
        });
    }
    let report = Report { services: args.services, endpoints: args.endpoints, store_mib: mib(before), signed, steps };
    report.finish(args.report.as_deref())
}

/// How many resources were encoded so far. That is counted at each snapshot, up to the one before: one more tells all.
async fn encoded(world: &mut World, admin: std::net::SocketAddr) -> Result<f64> {
    world.change(0)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    metric(admin, ENCODED).await
}

/// Changes endpoints at an even pace; returns how long each took to be acked by all whom it concerns.
async fn change(world: &mut World, fleet: &mut Fleet, rate: u32, seconds: u32) -> Result<Histogram> {
    let mut beat = tokio::time::interval(Duration::from_secs(1) / rate);
    for number in 0..rate * seconds {
        beat.tick().await;
        // Far apart, so that a service has settled before its next turn.
        let service = (number as usize * STRIDE) % world.services();
        fleet.expect(service);
        world.change(service)?;
    }
    fleet.settled().await
}

async fn start(folder: &Path) -> Result<(Child, std::net::SocketAddr, std::net::SocketAddr)> {
    let program = std::env::var_os("OUTRIGGER_CONTROL_PLANE_BIN").context("OUTRIGGER_CONTROL_PLANE_BIN is not set")?;
    let (listen, admin) = (crate::footprint::free_port()?, crate::footprint::free_port()?);
    let log = std::fs::File::create(folder.join("control-plane.log"))?;
    let plane = Command::new(program)
        .args(["run", "--config-dir"])
        .arg(folder.join("config"))
        .arg("--ca-dir")
        .arg(folder.join("ca"))
        .args(["--listen", &listen.to_string(), "--admin", &admin.to_string(), "--log-filter", "warn"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("start the control plane")?;
    crate::footprint::wait_until_ready(admin).await.context("the control plane is not ready")?;
    Ok((plane, listen, admin))
}

/// Reads one metric of the control plane.
async fn metric(admin: std::net::SocketAddr, name: &str) -> Result<f64> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut io = tokio::net::TcpStream::connect(admin).await?;
    io.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").await?;
    let mut page = String::new();
    io.read_to_string(&mut page).await?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no metric {name}"))?;
    line.trim().parse().with_context(|| format!("{name}{line}"))
}

const ENCODED: &str = "outrigger_control_encoded_resources_total ";
/// Prime, so that all services get their turn.
const STRIDE: usize = 997;

/// All that a run found.
#[derive(Debug, Serialize)]
struct Report {
    services: usize,
    endpoints: usize,
    /// The control plane's memory with all objects and all that is encoded of them, and no sidecar.
    store_mib: f64,
    /// Certificates signed in a second of CPU time.
    signed: f64,
    steps: Vec<Step>,
}

impl Report {
    fn finish(&self, folder: Option<&Path>) -> Result<ExitCode> {
        use std::io::Write as _;
        let missed = self.missed();
        let mut text = self.table();
        text.push_str(&if missed.is_empty() { "all limits hold\n".to_owned() } else { missed.join("\n") + "\n" });
        std::io::stdout().lock().write_all(text.as_bytes())?;
        if let Some(folder) = folder {
            std::fs::write(folder.join("control-plane.txt"), &text)?;
            std::fs::write(folder.join("control-plane.json"), serde_json::to_string_pretty(self)?)?;
            std::fs::write(folder.join("control-plane.svg"), self.svg())?;
        }
        Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn table(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "{} services, {} endpoints: {:.1} MiB; {:.0} certificates signed per second of CPU\n\n\
             {:>9} {:>9} {:>9} {:>12} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>11} {:>8}\n",
            self.services,
            self.endpoints,
            self.store_mib,
            self.signed,
            "sidecars",
            "connect s",
            "RSS MiB",
            "KiB/sidecar",
            "rest %",
            "p50 ms",
            "p99 ms",
            "most ms",
            "encodes",
            "CPU ms",
            "reconnect s",
            "resume B",
        );
        for step in &self.steps {
            let _ = writeln!(
                text,
                "{:>9} {:>9.1} {:>9.1} {:>12.1} {:>7.2} {:>9.0} {:>9.0} {:>9.0} {:>9.2} {:>9.2} {:>11.1} {:>8.0}",
                step.sidecars,
                step.connect_seconds,
                step.resident_mib,
                step.kib_per_sidecar,
                step.rest_percent,
                step.p50_ms,
                step.p99_ms,
                step.longest_ms,
                step.encoded_per_change,
                step.cpu_ms_per_change,
                step.reconnect_seconds,
                step.resume_bytes,
            );
        }
        text.push('\n');
        text
    }

    fn svg(&self) -> String {
        let numbers: Vec<usize> = self.steps.iter().map(|step| step.sidecars).collect();
        let curve = |label, value: fn(&Step) -> f64| Curve { label, values: self.steps.iter().map(value).collect() };
        let curves = [
            curve("resident memory, MiB", |step| step.resident_mib),
            curve("a change, 99th percentile, ms", |step| step.p99_ms),
            curve("CPU of a change, ms", |step| step.cpu_ms_per_change),
            curve("CPU at rest, % of a core", |step| step.rest_percent),
            curve("until all have their configuration, s", |step| step.connect_seconds),
            curve("until all are back, s", |step| step.reconnect_seconds),
        ];
        plot::curves("One control plane and the number of its sidecars", &numbers, &curves)
    }

    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut limit = |what: String, value: f64, most: f64| {
            if value > most {
                missed.push(format!("{what}: {value:.2}, more than {most}"));
            }
        };
        for step in &self.steps {
            let n = step.sidecars;
            limit(format!("{n} sidecars: p99 of a change, ms"), step.p99_ms, 1000.0);
            limit(format!("{n} sidecars: encodes per change"), step.encoded_per_change, 1.05);
            limit(format!("{n} sidecars: until all are back, s"), step.reconnect_seconds, 30.0);
            limit(format!("{n} sidecars: CPU at rest, %"), step.rest_percent, 5.0);
            // Among few, the process's own growth counts more than they do.
            if n >= 1000 {
                limit(format!("{n} sidecars: KiB each"), step.kib_per_sidecar, 40.0);
            }
        }
        if self.signed < 5000.0 {
            missed.push(format!("{:.0} certificates signed per second of CPU, fewer than 5000", self.signed));
        }
        missed
    }
}

/// Says whether a file or folder is there that a run needs.
fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    ensure!(!bytes.is_empty(), "{} is empty", path.display());
    Ok(bytes)
}
