//! The ordinary, for long: connections that are kept, read from or silent, while routes and policies change and pods are replaced. Nothing ends
//! that would not have ended without the mesh, and nothing is left behind.
//!
//! `OUTRIGGER_SOAK_SECONDS` says for how long. `cargo xtask test` runs it for ten minutes alongside the other suites, and with `--long` for an hour.

mod inject;
mod lasting;
mod through_faults;
mod with_short_certificates;
mod world;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::{PeerError, calls as grpc, faults, soak};
use outrigger_tests::{Mesh, Pod, Process, enter, wait, yaml};

const WEB: &str = "10.96.0.10";
const LIVE: &str = "10.96.0.11";
const CALLS: &str = "10.96.0.12";

/// Longer than any idle connection is kept in a pool.
const POOLED: Duration = Duration::from_secs(150);

fn services() -> String {
    let bytes = yaml::service("live", LIVE, 80, 8080) + "    - port: 81\n      targetPort: 8081\n      name: bytes\n";
    let bytes = bytes.replace("    - port: 80\n", "    - port: 80\n      name: http\n");
    [yaml::service("web", WEB, 80, 8080), bytes, yaml::service("calls", CALLS, 80, 8080)].concat()
}

/// What an administrator changes: nothing that would end a request.
fn settings(n: u32) -> String {
    let set = |name| {
        format!(
            "    - filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-n, value: '{n}'}}]}}}}]\n      backendRefs: [{{name: {name}, port: 80}}]\n"
        )
    };
    let choice = ["RoundRobin", "LeastRequest"][n as usize % 2];
    let policy = |name| {
        format!(
            "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{targetRefs: [{{group: '', kind: Service, name: {name}}}], loadBalancer: {{type: {choice}}}}}\n"
        )
    };
    let names = ["web", "live"];
    names.map(|name| yaml::http_route(name, name, &set(name)) + &policy(name)).concat()
}

/// A server in a pod.
struct Served {
    pod: Pod,
    server: Process,
}

impl Served {
    fn start(mesh: &mut Mesh, name: &str, app: &str, server: Result<Command, PeerError>) -> Self {
        let pod = mesh.pod(name, app);
        let server = Process::start(&format!("server-{name}"), &pod, mesh.folder(), &mut server.unwrap());
        let address = format!("{}:8080", pod.ip());
        wait::until_true("the server listens", || pod.run_in(|| std::net::TcpStream::connect(&address).is_ok()));
        Self { pod, server }
    }

    /// As a rollout does it: the endpoint leaves the Service, the sidecar drains, the application ends.
    fn end(mut self, mesh: &Mesh, name: &str) {
        mesh.remove(&format!("{name}.yaml"));
        self.pod.sidecar().terminate();
        assert!(self.pod.sidecar().ended().success());
        drop(self.server);
    }
}

fn every(port: u16) -> SocketAddr {
    ([0, 0, 0, 0], port).into()
}

fn at(service: &str, port: u16) -> SocketAddr {
    SocketAddr::new(service.parse().unwrap(), port)
}

/// Whether programs are missing that the soaks need; where they must not be, that is a failure.
fn peers_are_missing() -> bool {
    let Some(error) = faults::server(every(1), "").err() else { return false };
    assert!(std::env::var_os("OUTRIGGER_REQUIRE_PEERS").is_none(), "{error}");
    eprintln!("SKIPPED: {error}");
    true
}

/// What a process holds: descriptors, and resident memory in KiB.
fn held(process: u32) -> (usize, usize) {
    let folder = Path::new("/proc").join(process.to_string());
    let descriptors = fs::read_dir(folder.join("fd")).unwrap().count();
    let status = fs::read_to_string(folder.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

/// Waits for a client's end, and says what it saw.
fn passed(client: &mut Process, name: &str, ends: Instant) -> String {
    let late = ends + Duration::from_secs(60);
    while client.alive() {
        assert!(Instant::now() < late, "{name} does not end:\n{}", client.output());
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = client.ended();
    assert!(status.success(), "{name}: {status}\n{}", client.output());
    client.output()
}

#[test]
fn nothing_ordinary_ends_and_nothing_is_left_behind() {
    let Some(sandbox) = enter() else { return };
    let seconds = std::env::var("OUTRIGGER_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(60);
    let length = Duration::from_secs(seconds);
    if let Some(error) = [soak::server(every(1)), soak::node(every(1), length), soak::python(every(1), length)]
        .into_iter()
        .find_map(Result::err)
    {
        assert!(std::env::var_os("OUTRIGGER_REQUIRE_PEERS").is_none(), "{error}");
        eprintln!("SKIPPED: {error}");
        return;
    }
    let mut mesh = Mesh::start(sandbox, &services());
    mesh.write("settings.yaml", &settings(0));
    let mut live = Served::start(&mut mesh, "live-1", "live", soak::server(every(8080)));
    let mut called = Served::start(&mut mesh, "calls-1", "calls", grpc::server(every(8080), &[]));
    let mut web = Served::start(&mut mesh, "web-0", "web", soak::server(every(8080)));
    let mut clients = ["http1", "http2", "by-load"]
        .map(|wire| mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire]));
    let mut sidecars: Vec<u32> = clients.iter_mut().map(|client| client.sidecar().id()).collect();
    let calls = called.pod.sidecar().id();
    sidecars.extend([live.pod.sidecar().id(), calls]);
    let before: Vec<_> = sidecars.iter().map(|sidecar| held(*sidecar)).collect();

    let ends = Instant::now() + length;
    let mut running = Vec::new();
    let mut calling = Vec::new();
    for client in &clients {
        let start = |what: &str, at: &Namespace, mut command: Command| {
            let name = format!("{what}-{}", at.name());
            (Process::start(&name, at, mesh.folder(), &mut command), name)
        };
        running.push(start("go", client, soak::client(at(WEB, 80), at(LIVE, 80), length).unwrap()));
        running.push(start("node", client, soak::node(at(WEB, 80), length).unwrap()));
        running.push(start("python", client, soak::python(at(WEB, 80), length).unwrap()));
        calling.push(start("grpc", client, grpc::client(at(CALLS, 80), 5, "hold").unwrap()));
    }
    for (client, name) in &calling {
        wait::until_true(&format!("{name} has its streams"), || client.output().contains("holds"));
    }

    // No more changes than there are addresses for pods.
    let pause = Duration::from_secs((seconds / 60).max(8));
    let mut settled = Vec::new();
    let mut n = 0;
    while Instant::now() + pause + Duration::from_secs(5) < ends {
        std::thread::sleep(pause);
        n += 1;
        mesh.write("settings.yaml", &settings(n));
        let next = Served::start(&mut mesh, &format!("web-{n}"), "web", soak::server(every(8080)));
        std::mem::replace(&mut web, next).end(&mesh, &format!("web-{}", n - 1));
        if settled.is_empty() && Instant::now() + length / 2 > ends {
            settled = sidecars.iter().map(|sidecar| held(*sidecar)).collect();
        }
    }

    for (client, name) in &mut running {
        eprintln!("{name}: {}", passed(client, name, ends).trim().replace('\n', ", "));
    }
    for (client, name) in &mut calling {
        assert!(client.alive(), "{name}: a stream has ended: {}", client.output());
        client.terminate();
        client.ended();
    }
    let done: Vec<_> = sidecars.iter().map(|sidecar| held(*sidecar)).collect();
    eprintln!("after {n} changes, descriptors and KiB of the sidecars: {before:?}, then {settled:?}, then {done:?}");
    for (before, after) in settled.iter().zip(&done) {
        assert!(after.1 < before.1 + 6 * 1024, "memory grows: {settled:?}, then {done:?} KiB");
    }
    let start = Instant::now();
    // HTTP/2 connections without requests stay in their pools for an hour: one for each client, and at the server one to its app with it.
    let pooled = |sidecar| if sidecar == calls { 2 * clients.len() } else { 1 };
    for (sidecar, (before, _)) in sidecars.iter().zip(&before) {
        // The connection to the control plane may be a new one, just being opened.
        while held(*sidecar).0 > before + pooled(*sidecar) + 1 {
            assert!(start.elapsed() < POOLED, "descriptors are left behind: {before} before, now {:?}", held(*sidecar));
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    drop(live.server);
    drop(called.server);
    drop(web.server);
}
