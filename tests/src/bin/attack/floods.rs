//! Floods of HTTP/2 frames: what they cost each proxy, its application and another client, as `docs/security/floods.md`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::attack::floods::{FLOODS, Flood};
use outrigger_tests::attack::neighbour::timed_beside_a_neighbour;
use outrigger_tests::attack::proxies::{Ports, Proxy};
use outrigger_tests::{App, Mesh, Process, Reply, yaml};

use crate::figures::{forget_peak, ms, p99, peak, pod, resident, spent};

/// Floods everything; the page.
pub(crate) fn measure(sandbox: Sandbox) -> String {
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, PORTS.app));
    let (mut web, mut client) = (pod(&mut mesh, "web-1", "web", &[]), pod(&mut mesh, "client-1", "client", &[]));
    let (outside, bare, sink) = (mesh.bare("outside"), mesh.bare("bare"), mesh.bare("sink"));
    let (meshed, plain) = (app(&web), app(&bare));
    let sidecars = [web.sidecar().id(), client.sidecar().id()];
    let control = Control::start(&sink);
    let mut page = Page::default();

    let inbound = format!("{}:{}", web.ip(), PORTS.app);
    page.add(&Target {
        name: "Outrigger, the inbound sidecar".to_owned(),
        from: &outside,
        flooded: &inbound,
        asked: &inbound,
        processes: &sidecars[..1],
        app: &meshed,
        control: &control,
    });
    let service = format!("{WEB}:80");
    page.add(&Target {
        name: "Outrigger, the outbound sidecar".to_owned(),
        from: &client,
        flooded: &service,
        asked: &service,
        processes: &sidecars,
        app: &meshed,
        control: &control,
    });
    for proxy in Proxy::ALL {
        let folder = mesh.folder().join(proxy.name());
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let process: Process = proxy.start(&bare, &folder, &[PORTS]);
        page.add(&Target {
            name: format!("{} {}", proxy.name(), proxy.version()),
            from: &outside,
            flooded: &format!("{}:{}", bare.v4(), PORTS.http2),
            asked: &format!("{}:{}", bare.v4(), PORTS.http1),
            processes: &[process.id()],
            app: &plain,
            control: &control,
        });
    }
    page.finish()
}

fn app(at: &Namespace) -> App {
    App::http(at, PORTS.app, |seen| {
        // A flood's requests are not answered in time to make up for what it does.
        let patience = if seen.path.starts_with(NEIGHBOUR) { Duration::ZERO } else { Duration::from_secs(60) };
        Reply::ok(format!("{} ", seen.path)).after(patience)
    })
}

/// A server that reads what comes and does nothing: a flood of it takes the machine's time, and nothing of a proxy's.
struct Control(String);

impl Control {
    fn start(at: &Namespace) -> Self {
        let listener = at.run(|| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 9000)))).expect("a thread starts");
        let listener = listener.expect("the port is free");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut buffer, mut read) = ([0; 16_384], 0);
                    while read < ENOUGH {
                        match stream.read(&mut buffer) {
                            Ok(more) if more > 0 => read += more,
                            _ => return,
                        }
                    }
                });
            }
        });
        Self(format!("{}:9000", at.v4()))
    }
}

struct Target<'a> {
    name: String,
    from: &'a Namespace,
    flooded: &'a str,
    /// Where the neighbour sends its requests: the same process.
    asked: &'a str,
    processes: &'a [u32],
    app: &'a App,
    control: &'a Control,
}

/// What one kind of flood did.
struct Outcome {
    ended: usize,
    connections: u32,
    /// CPU time of the proxy for one flood, milliseconds.
    cpu: f64,
    /// How far its memory grew, KiB.
    grown: u64,
    /// Requests of one flood that the application received.
    reached: usize,
    neighbour: Duration,
    /// Requests of the neighbour that failed.
    failed: usize,
}

impl Target<'_> {
    fn flood(&self, flood: &Flood, connections: u32) -> Outcome {
        self.app.forget();
        let (memory, cpu) = (self.sum(resident), self.sum(spent));
        self.processes.iter().for_each(|process| forget_peak(*process));
        let (mut floods, mut ended, mut work) = (0_u32, 0, Duration::ZERO);
        let ((), asked) = timed_beside_a_neighbour(self.from, self.asked, || {
            let start = Instant::now();
            while start.elapsed() < AT_LEAST {
                ended += self.from.run(|| flood.run(self.flooded, connections, PATIENCE)).expect("a thread starts");
                floods += 1;
            }
            work = start.elapsed();
        });
        let reached = self.app.seen().iter().filter(|seen| !seen.path.starts_with(NEIGHBOUR)).count();
        let failed = asked.failed.len();
        eprintln!("{}, {}, {connections}: {floods} floods in {work:?}, {failed} failed", self.name, flood.name);
        Outcome {
            ended: ended / floods as usize,
            connections,
            cpu: (self.sum(spent) - cpu) as f64 / f64::from(floods),
            grown: self.sum(peak).saturating_sub(memory),
            reached: reached / floods as usize,
            neighbour: p99(&asked.took),
            failed,
        }
    }

    /// The neighbour's p99 when nobody floods, and when so many connections flood another server.
    fn base(&self, connections: u32) -> [Duration; 2] {
        let (_, quiet) = timed_beside_a_neighbour(self.from, self.asked, || std::thread::sleep(AT_LEAST));
        let ((), beside) = timed_beside_a_neighbour(self.from, self.asked, || {
            let start = Instant::now();
            while start.elapsed() < AT_LEAST {
                let control = || FLOODS[0].run(&self.control.0, connections, PATIENCE);
                self.from.run(control).expect("a thread starts");
            }
        });
        [p99(&quiet.took), p99(&beside.took)]
    }

    fn sum(&self, of: impl Fn(u32) -> u64) -> u64 {
        self.processes.iter().map(|process| of(*process)).sum()
    }
}

#[derive(Default)]
struct Page {
    sums: String,
    details: String,
}

impl Page {
    fn add(&mut self, target: &Target<'_>) {
        self.measure(target).expect("a string can be written to");
    }

    fn measure(&mut self, target: &Target<'_>) -> std::fmt::Result {
        let all = [1, CROWD].map(|connections| {
            let base = target.base(connections);
            (base, FLOODS.iter().map(|flood| target.flood(flood, connections)).collect::<Vec<_>>())
        });
        for ([quiet, control], outcomes) in &all {
            let complete = outcomes.iter().filter(|outcome| outcome.ended == outcome.connections as usize).count();
            let mut neighbours: Vec<_> = outcomes.iter().map(|outcome| outcome.neighbour).collect();
            neighbours.sort_unstable();
            let most = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).fold(0.0, f64::max);
            writeln!(
                self.sums,
                "| {} | {} | {complete} of {} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} | {} |",
                target.name,
                outcomes[0].connections,
                outcomes.len(),
                most(|outcome| outcome.cpu),
                most(|outcome| outcome.grown as f64),
                most(|outcome| outcome.reached as f64),
                ms(*quiet),
                ms(*control),
                ms(neighbours[neighbours.len() / 2]),
                ms(neighbours[neighbours.len() - 1]),
                outcomes.iter().map(|outcome| outcome.failed).sum::<usize>(),
            )?;
        }
        writeln!(self.details, "\n### {}\n\n{DETAILS}", target.name)?;
        let [(_, one), (_, many)] = &all;
        for ((flood, one), many) in FLOODS.iter().zip(one).zip(many) {
            write!(self.details, "| {} |", flood.name)?;
            for Outcome { ended, cpu, grown, reached, neighbour, .. } in [one, many] {
                write!(self.details, " {ended} | {cpu:.0} | {grown} | {reached} | {} |", ms(*neighbour))?;
            }
            writeln!(self.details)?;
        }
        Ok(())
    }

    fn finish(self) -> String {
        format!("{HEAD}{}\n## Each flood\n{}", self.sums, self.details)
    }
}

const WEB: &str = "10.96.0.10";
const NEIGHBOUR: &str = "/neighbour";
const PORTS: Ports = Ports { app: 8080, http1: 8180, http2: 8280 };
/// So many connections flood at once.
const CROWD: u32 = 50;
/// A connection that is silent for so long has not been ended.
const PATIENCE: Duration = Duration::from_secs(3);
/// Floods are repeated until so much time has passed, so that the neighbour has requests enough.
const AT_LEAST: Duration = Duration::from_secs(1);
/// Bytes that the control reads of a connection: about as many as a proxy reads of a flood that it ends.
const ENOUGH: usize = 128 * 1024;

const DETAILS: &str = "\
| Flood | ended, 1 | CPU, ms | memory, KiB | requests | p99, ms | ended, 50 | CPU, ms | memory, KiB | requests | p99, ms |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

const HEAD: &str = "\
# Floods: comparison with other proxies

Clients send floods of HTTP/2 frames, from 1 connection and from 50 at once. This page shows what a flood costs the proxy, the application behind
it, and another client of the same proxy. A command builds the release profile and writes the page. It needs root, and installs HAProxy and NGINX
from Debian and Envoy from the Python package index:

```
cargo xtask attack floods
```

The floods are in `tests/src/attack/floods.rs`. CI sends all of them to both sidecars (`tests/tests/netns/hostile/floods.rs`), where a connection
that is not ended, too many requests at the application, or too much memory is a failure.

| Column | Meaning |
|---|---|
| ended | Floods of which the proxy ended all connections; in the second part, connections that it ended. A connection on which nothing happens for 3 s after the flood has not been ended. |
| CPU | User and system time of the proxy for one flood, with the requests of the other client. The summary has the largest of all floods. |
| memory | Peak of the resident memory during the flood minus the value before. |
| requests | Complete requests of one flood that the application received. |
| p99 | 99th percentile of the other client's response time. It sends two requests every 2 ms, one of them on a new connection. |
| failed | Requests of the other client without their response, in all floods together. |
| quiet | p99 without a flood. |
| control | p99 while the same connections flood another server. The floods, the other client and the proxy share two processors; this is the part that the load of the machine causes. |

Each flood is repeated for at least 1 s. A proxy that ends the connections is flooded again at once. A proxy that leaves them open is not, while the
client waits for 3 s: its p99 has more quiet time in it. The proxies run with default settings and one worker; a sidecar has its default of threads.

## Summary

| Proxy | Connections | ended | CPU, ms | memory, KiB | requests | quiet, ms | control, ms | p99, median of floods, ms | p99, worst flood, ms | failed |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
";
