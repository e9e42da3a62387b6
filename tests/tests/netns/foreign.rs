//! Programs that nobody here wrote, through a meshed pair and between meshed and unmeshed.
//!
//! `tests/peers/README.md` says what each of them is. What is missing here is skipped with a message, and fails where
//! `OUTRIGGER_REQUIRE_PEERS` is set, as `cargo xtask test` does.

mod curl;
mod databases;
mod grpc;
mod h2spec;
mod jaeger;
mod nghttp;
mod prometheus;
mod resets;
mod strangers;
mod websocket;

use std::fs::read_to_string;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};

use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::peers::PeerError;
use outrigger_tests::{Mesh, Pod, Process, enter, wait};

/// A peer's program, ready to be started.
type Peer = Result<Command, PeerError>;

/// Only a broken path takes as long, seconds.
const PATIENCE: &str = "60";

/// Enters a sandbox, after the peers were found or built: there is no network inside.
fn enter_with(peers: impl IntoIterator<Item = Peer>) -> Option<Sandbox> {
    if let Some(error) = peers.into_iter().find_map(Result::err) {
        assert!(std::env::var_os("OUTRIGGER_REQUIRE_PEERS").is_none(), "{error}");
        eprintln!("SKIPPED: {error}");
        return None;
    }
    enter()
}

/// Starts a server and waits until it listens on `port`.
fn serve(mesh: &Mesh, at: &Namespace, port: u16, server: Peer) -> Process {
    let mut server = server.unwrap();
    let name = format!("{}-{port}", at.name());
    let mut process = Process::start(&name, at, mesh.folder(), &mut server);
    wait::until_true(&format!("{server:?} listens"), || {
        assert!(process.alive(), "{server:?} ended");
        listens(at, port)
    });
    process
}

/// Tells whether somebody listens, without a connection that a server would take for a client's.
fn listens(at: &Namespace, port: u16) -> bool {
    let tables =
        at.run(|| ["tcp", "tcp6"].map(|table| read_to_string(format!("/proc/thread-self/net/{table}")))).unwrap();
    let end = format!(":{port:04X}");
    tables.into_iter().flatten().any(|table| {
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
            local.ends_with(&end) && state == "0A"
        })
    })
}

/// Runs a program to its end, whatever the end; a hang is ended too.
fn output(at: &Namespace, client: &Command) -> Output {
    let mut bounded = Command::new("timeout");
    bounded.arg(PATIENCE).arg(client.get_program()).args(client.get_args());
    for (name, value) in client.get_envs() {
        bounded.env(name, value.expect("peers only set variables"));
    }
    at.run(|| bounded.stdin(std::process::Stdio::null()).output()).unwrap().unwrap()
}

/// Runs a program to its success and returns what it printed.
fn succeeds(at: &Namespace, client: Peer) -> String {
    let client = client.unwrap();
    let output = output(at, &client);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client:?} in {}: {}\n{stdout}\n{stderr}", at.name(), output.status);
    stdout
}

/// Runs a program to its failure and returns what it said of it.
fn fails(at: &Namespace, client: Peer) -> String {
    let client = client.unwrap();
    let output = output(at, &client);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{client:?} in {}: {stderr}", at.name());
    stderr
}

fn every_address(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

/// Connections that were carried as bytes.
fn connections(pod: &Pod, direction: &str, tls: &str) -> f64 {
    pod.metric(&format!("outrigger_{direction}_tcp_connections_total"), &[&format!("tls=\"{tls}\"")])
}

/// HTTP requests and gRPC calls that were parsed as such.
fn parsed(pod: &Pod) -> f64 {
    let families = ["http_client_request", "http_server_request", "rpc_client_call", "rpc_server_call"];
    families.iter().map(|family| pod.metric(&format!("{family}_duration_seconds_count"), &[])).sum()
}
