//! `outrigger run`: a program of the user's as one more workload of the demo's mesh, for as long as the user wants.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outrigger_console::exit::Failure;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::mesh::{Guest, Joining, Mesh, join};
use super::place::Place;
use super::process::Process;
use super::shop;
use super::socket::lead_to;
use crate::ask::{Answer, Lines, Program, send};

/// Runs the program until it ends or the user goes away.
pub(super) async fn run(
    mesh: Arc<Mesh>,
    program: Program,
    mut lines: Lines,
    mut write: OwnedWriteHalf,
) -> anyhow::Result<()> {
    let mut started = match start(&mesh, &program).await {
        Ok(started) => started,
        Err(error) => {
            let hint = error.downcast_ref::<Failure>().and_then(|failure| failure.hint.clone());
            let hint = hint.unwrap_or_else(|| "look at the demo's terminal".into());
            return send(&mut write, &Answer::Refused(format!("{error:#}"), hint)).await;
        }
    };
    let Visit { guest, .. } = &started.visit;
    let answer = Answer::Started {
        workload: format!("{}/{}", shop::NAMESPACE, guest.workload),
        address: guest.service.to_string(),
        socket: guest.socket.clone(),
    };
    send(&mut write, &answer).await?;
    let leading = lead_to(&guest.socket, mesh.member(shop::LOAD)?.site.clone(), guest.service);
    let (printed, mut output) = mpsc::channel(OUTPUT_QUEUE);
    let printing = [
        started.app.stdout.take().map(|out| tokio::spawn(print(out, printed.clone(), Answer::Stdout))),
        started.app.stderr.take().map(|err| tokio::spawn(print(err, printed.clone(), Answer::Stderr))),
    ];
    drop(printed);
    let talk = async {
        while let Some(line) = output.recv().await {
            send(&mut write, &line).await?;
        }
        let status = started.app.wait().await?;
        send(&mut write, &Answer::Ended(status.code())).await
    };
    // The user says nothing more: whatever comes is the end.
    let end = tokio::select! {
        talked = talk => talked,
        led = leading => led.context("lead to the program"),
        _ = lines.next::<serde_json::Value>() => Ok(()),
    };
    printing.iter().flatten().for_each(tokio::task::JoinHandle::abort);
    end
}

struct Started {
    app: Child,
    // After the app: the sidecar outlives it.
    _sidecar: Process,
    visit: Visit,
}

/// Takes the guest off the list, and its YAML out of the folder, when it leaves.
struct Visit {
    mesh: Arc<Mesh>,
    guest: Guest,
    yaml: PathBuf,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.yaml);
        let _ = fs::remove_file(&self.guest.socket);
        let _ = fs::remove_dir_all(self.mesh.control_plane.paths().sidecar(&self.guest.workload));
        self.mesh.remove_guest(&self.guest);
    }
}

async fn start(mesh: &Arc<Mesh>, program: &Program) -> anyhow::Result<Started> {
    if matches!(mesh.place, Place::Loopback) {
        let hint = "allow user namespaces, or run the demo as root";
        return Err(
            Failure::new("this mesh runs on loopback ports and cannot capture a program's traffic", hint).into()
        );
    }
    let (command, arguments) = program.command.split_first().context("no program to run")?;
    let cp = &mesh.control_plane;
    let guest = mesh.add_guest(&program.service)?;
    let yaml = cp.paths().config().join(format!("{}.yaml", guest.workload));
    let visit = Visit { mesh: mesh.clone(), guest, yaml };
    let guest = &visit.guest;

    let page = cp.page("/config").await?;
    let service = format!("{}/{}", shop::NAMESPACE, program.service);
    let known = page["objects"]["Service"].as_array().is_some_and(|all| all.iter().any(|name| *name == *service));
    if known {
        return Err(Failure::new(format!("there is a service {service} already"), "choose another --service").into());
    }
    write_yaml(&visit.yaml, program, guest)?;
    known_to_control_plane(mesh, guest).await?;
    let joining = Joining { workload: &guest.workload, host: guest.host, explicit: Vec::new() };
    let sidecar = join(cp, &mesh.place, &joining, &guest.site).await?;
    let mut app = Command::new(command);
    app.args(arguments).current_dir(&program.directory).env_clear().envs(&program.variables);
    app.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let app = guest.site.start(&mut app)?;
    Ok(Started { app, _sidecar: sidecar, visit })
}

fn write_yaml(path: &Path, program: &Program, guest: &Guest) -> anyhow::Result<()> {
    let Program { service, port, .. } = program;
    let Guest { workload, host, .. } = guest;
    let namespace = shop::NAMESPACE;
    let ip = guest.service.ip();
    let text = format!(
        "apiVersion: outrigger.io/v1alpha1\nkind: Workload\nmetadata:\n  name: {workload}\n  namespace: {namespace}\n  \
         labels: {{app: {service}}}\nspec:\n  address: 10.77.0.{host}\n  serviceAccountName: {service}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata:\n  name: {service}\n  namespace: {namespace}\nspec:\n  \
         clusterIP: {ip}\n  selector: {{app: {service}}}\n  ports:\n    - {{port: 80, targetPort: {port}}}\n"
    );
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

async fn known_to_control_plane(mesh: &Mesh, guest: &Guest) -> anyhow::Result<()> {
    let name = format!("{}/{}", shop::NAMESPACE, guest.workload);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = mesh.control_plane.page("/config").await?;
        if page["objects"]["Workload"].as_array().is_some_and(|all| all.iter().any(|known| *known == *name)) {
            return Ok(());
        }
        let errors = &page["sourceErrors"];
        anyhow::ensure!(Instant::now() < deadline, "the control plane does not take up the workload: {errors}");
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn print(from: impl AsyncRead + Unpin, to: mpsc::Sender<Answer>, line_of: fn(String) -> Answer) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if to.send(line_of(line)).await.is_err() {
            return;
        }
    }
}

const OUTPUT_QUEUE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);
