//! What a sidecar weighs before any request: its file, the time until it is ready, and its memory then.
//!
//! On loopback, without capture: nothing of that depends on the network.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::process::{Child, Command};

use crate::data_plane::Folder;
use crate::process::Pid;

/// `outrigger-bench footprint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Starts of the sidecar; the median counts.
    #[arg(long, default_value_t = 11)]
    starts: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Footprint {
    binary_mib: f64,
    ready_ms: f64,
    idle_rss_mib: f64,
}

/// The limits: the median start, the largest memory, the file.
const LIMITS: Footprint = Footprint { binary_mib: 10.0, ready_ms: 25.0, idle_rss_mib: 9.0 };

const MESH: &str = "\
apiVersion: outrigger.io/v1alpha1
kind: Workload
metadata: { name: idle, namespace: bench }
spec: { address: 127.0.0.1, serviceAccountName: idle }
";

/// Measures, prints; the status is 1 when a limit is missed.
pub(crate) async fn run(args: &Args) -> Result<std::process::ExitCode> {
    let folder = Folder::make()?;
    let folder = folder.path();
    let programs = Programs::from_environment()?;
    std::fs::create_dir(folder.join("config"))?;
    std::fs::write(folder.join("config/mesh.yaml"), MESH)?;
    let (listen, admin) = (free_port()?, free_port()?);
    let _control_plane = programs.control_plane(folder, listen, admin)?;
    wait_until_ready(admin).await.context("the control plane is not ready")?;

    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for number in 0..args.starts.max(1) {
        let token = programs.token(folder).await?;
        let admin = free_port()?;
        let begin = Instant::now();
        let sidecar = programs.sidecar(folder, number, listen, admin, &token)?;
        wait_until_ready(admin).await.context("the sidecar is not ready")?;
        ready.push(begin.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pid = Pid(sidecar.id().context("the sidecar ended")?);
        resident.push(crate::report::mib(pid.memory()?.resident_kib));
    }
    ready.sort_by(f64::total_cmp);
    resident.sort_by(f64::total_cmp);
    let found = Footprint {
        binary_mib: crate::report::mib(std::fs::metadata(&programs.sidecar)?.len() / 1024),
        ready_ms: ready[ready.len() / 2],
        idle_rss_mib: resident[resident.len() - 1],
    };
    report(&found, args.json)
}

fn report(found: &Footprint, json: bool) -> Result<std::process::ExitCode> {
    if json {
        crate::print_json(found)?;
    }
    let mut missed = false;
    for (name, value, limit) in [
        ("stripped binary, MiB", found.binary_mib, LIMITS.binary_mib),
        ("exec to ready, ms", found.ready_ms, LIMITS.ready_ms),
        ("idle memory (RSS), MiB", found.idle_rss_mib, LIMITS.idle_rss_mib),
    ] {
        let verdict = if value <= limit { "ok" } else { "MISSED" };
        eprintln!("{name:<24} {value:>6.1}  limit {limit:>5.1}  {verdict}");
        missed |= value > limit;
    }
    Ok(if missed { std::process::ExitCode::from(1) } else { std::process::ExitCode::SUCCESS })
}

struct Programs {
    sidecar: PathBuf,
    control_plane: PathBuf,
}

impl Programs {
    fn from_environment() -> Result<Self> {
        let named = |name: &str| {
            let path =
                std::env::var_os(name).with_context(|| format!("{name} is not set: run this by `cargo xtask sizes`"));
            path.map(PathBuf::from)
        };
        Ok(Self { sidecar: named("OUTRIGGER_SIDECAR_BIN")?, control_plane: named("OUTRIGGER_CONTROL_PLANE_BIN")? })
    }

    fn control_plane(&self, folder: &Path, listen: SocketAddr, admin: SocketAddr) -> Result<Child> {
        let mut command = quiet(&self.control_plane, &folder.join("control-plane.log"))?;
        command.arg("run").arg("--config-dir").arg(folder.join("config")).arg("--ca-dir").arg(folder.join("ca"));
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.spawn().context("start the control plane")
    }

    async fn token(&self, folder: &Path) -> Result<PathBuf> {
        let mut command = Command::new(&self.control_plane);
        command.args(["token", "bench/idle", "--ca-dir"]).arg(folder.join("ca"));
        let output = command.output().await?;
        if !output.status.success() {
            bail!("no join token: {}", String::from_utf8_lossy(&output.stderr));
        }
        let path = folder.join("token");
        std::fs::write(&path, output.stdout)?;
        Ok(path)
    }

    fn sidecar(
        &self,
        folder: &Path,
        number: usize,
        control: SocketAddr,
        admin: SocketAddr,
        token: &Path,
    ) -> Result<Child> {
        let mut command = quiet(&self.sidecar, &folder.join(format!("sidecar-{number}.log")))?;
        command.args(["run", "--workload", "bench/idle", "--control-plane", &control.to_string(), "--trust-anchors"]);
        command.arg(folder.join("ca/root.pem")).arg("--token-file").arg(token);
        command.args(["--admin", &admin.to_string(), "--outbound", "127.0.0.1:0=127.0.0.1:1"]);
        command.spawn().context("start the sidecar")
    }
}

fn quiet(program: &Path, log: &Path) -> Result<Command> {
    let log = std::fs::File::create(log)?;
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// A port that nobody listens on: given back at once, so that a program can take it.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Asks /ready every half millisecond.
pub(crate) async fn wait_until_ready(admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if is_ready(admin).unwrap_or(false) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    bail!("no 200 from http://{admin}/ready in 10 s")
}

fn is_ready(admin: SocketAddr) -> Result<bool> {
    let mut io = TcpStream::connect(admin)?;
    io.set_read_timeout(Some(Duration::from_secs(1)))?;
    io.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    io.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
