//! The ways between a client and a server: without a mesh, with a sidecar on both sides or on one, over both wire forms.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::PeerError;
use outrigger_tests::{Mesh, Pod, Process, enter, wait};

use super::differences::{self, Difference};
use super::peer::{Peer, Record};

/// A server, and what clients do with it.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    /// Whether it speaks HTTP: then it is reached by a Service with an HTTPRoute, too.
    pub(crate) http: bool,
    pub(crate) rows: Vec<Row>,
}

/// Something that listens.
pub(crate) enum Server {
    /// Runs for each connection.
    Script(fn(&mut Peer)),
    /// A program, started for a listening address with a folder of its own.
    Program(fn(SocketAddr, &Path) -> Result<Command, PeerError>),
    /// Nothing: the port is closed.
    Nobody,
}

/// One client of a scene's server.
pub(crate) struct Row {
    name: String,
    client: Client,
    /// Differences that the list names and that this row shows.
    shows: &'static [&'static Difference],
}

impl Row {
    /// A client that is a script.
    pub(crate) fn script(name: &str, client: fn(&mut Peer)) -> Self {
        Self { name: name.to_owned(), client: Client::Script(client), shows: &[] }
    }

    /// A client that is a program, started with the server's address. Its output and its exit code are what it saw.
    pub(crate) fn program<F>(name: impl Into<String>, client: F) -> Self
    where
        F: Fn(SocketAddr) -> Result<Command, PeerError> + Sync + 'static,
    {
        Self { name: name.into(), client: Client::Program(Box::new(client)), shows: &[] }
    }

    /// The names of the differences that explain what was seen, all of them needed; `None`: they do not.
    fn excuses(&self, first: &Saw, saw: &Saw) -> Option<Vec<&'static str>> {
        let is_explained = |but: Option<&str>| {
            let shown = self.shows.iter().filter(|difference| Some(difference.name) != but);
            let without = |saw: &Saw| shown.clone().fold(saw.clone(), |saw, one| each_line(saw, one.without));
            without(saw) == without(first)
        };
        let needed = |name: &&str| !is_explained(Some(name));
        is_explained(None).then(|| self.shows.iter().map(|one| one.name).filter(needed).collect())
    }

    /// The row with the differences that it shows.
    pub(crate) fn shows(self, shows: &'static [&'static Difference]) -> Self {
        Self { shows, ..self }
    }
}

/// Something that connects.
enum Client {
    Script(fn(&mut Peer)),
    Program(Box<dyn Fn(SocketAddr) -> Result<Command, PeerError> + Sync>),
}

/// What both ends saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Saw {
    client: Vec<String>,
    /// By connection.
    server: Vec<Vec<String>>,
}

/// Where clients and servers live.
struct Ways {
    places: Vec<Box<dyn Deref<Target = Namespace> + Send + Sync>>,
    ways: Vec<Way>,
    folder: std::path::PathBuf,
    _mesh: Mesh,
}

struct Way {
    name: &'static str,
    client: usize,
    server: usize,
    through: Through,
}

impl Way {
    /// What somebody saw, without what every row may show on this way.
    fn compared(&self, saw: &Saw) -> Saw {
        // To an address requests travel as HTTP/1.
        let shown = if self.through == Through::Address { &[] } else { differences::OVER_HTTP2 };
        shown.iter().fold(saw.clone(), |saw, difference| each_line(saw, difference.without))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Address,
    Service,
    Route,
}

/// Rows go on at the same time, since most of them wait.
const AT_ONCE: usize = 6;

const STRICT: &str = "  annotations:\n    config.outrigger.io/inbound: strict\n";

const FIRST_PORT: u16 = 7001;

/// Runs all rows of some scenes all ways and fails with every difference that the list does not name.
pub(crate) fn compare(scenes: Vec<Scene>) {
    let Some(sandbox) = enter() else { return };
    let only = std::env::var("OUTRIGGER_ROW").ok();
    let scenes: Vec<Scene> = scenes
        .into_iter()
        .filter(|scene| only.as_ref().is_none_or(|only| scene.name.contains(only.as_str())))
        .collect();
    let ways = Ways::lay(sandbox, &scenes);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(String::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, scene)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    scenes.get(at).map(|scene| (at, scene))
                } {
                    let told = ways.play(index, scene);
                    failures.lock().unwrap().push_str(&told);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "with a mesh differs from without:\n{failures}");
}

impl Ways {
    fn lay(sandbox: outrigger_sandbox::Sandbox, scenes: &[Scene]) -> Self {
        let mut yaml = String::new();
        for (index, scene) in scenes.iter().enumerate() {
            yaml.push_str(&services(index, scene.http));
        }
        let mut mesh = Mesh::start(sandbox, &yaml);
        let server: Pod = mesh.pod("server-1", "server");
        let strict = mesh.pod_with("strict-1", "strict", STRICT, &[]);
        let over_http1 = mesh.pod_with("client-1", "client", "", &["--wire", "http1"]);
        let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
        let by_load = mesh.pod("client-3", "client");
        let folder = mesh.folder().to_path_buf();
        let (outside, beside) = (mesh.bare("outside"), mesh.bare("beside"));
        let way = |name, client, server, through| Way { name, client, server, through };
        Self {
            places: vec![
                Box::new(Bare(outside)),
                Box::new(Bare(beside)),
                Box::new(over_http1),
                Box::new(over_http2),
                Box::new(by_load),
                Box::new(server),
                Box::new(strict),
            ],
            ways: vec![
                way("without a mesh", 0, 1, Through::Address),
                way("both meshed, HTTP/1 between sidecars, permissive", 2, 5, Through::Address),
                way("both meshed, HTTP/2 between sidecars, strict, by a Service", 3, 6, Through::Service),
                way("only the client meshed", 2, 1, Through::Address),
                way("only the server meshed", 0, 5, Through::Address),
                way("both meshed, strict, by a Service with an HTTPRoute", 4, 6, Through::Route),
            ],
            folder,
            _mesh: mesh,
        }
    }

    /// Plays a scene, and returns what it finds wrong.
    fn play(&self, index: usize, scene: &Scene) -> String {
        let port = FIRST_PORT + u16::try_from(index).unwrap();
        let listening: Vec<Listening> = [1, 5, 6].map(|place| self.listen(scene, place, port)).into();
        let mut told = String::new();
        for row in &scene.rows {
            let mut first = None;
            let mut shown = BTreeSet::new();
            for way in &self.ways {
                if way.through == Through::Route && !scene.http {
                    continue;
                }
                let server = &listening[[1, 5, 6].iter().position(|place| *place == way.server).unwrap()];
                let address = match way.through {
                    Through::Address => SocketAddr::from((self.places[way.server].v4(), port)),
                    Through::Service => SocketAddr::from((service_ip(1, index), port)),
                    Through::Route => SocketAddr::from((service_ip(2, index), port)),
                };
                let ends = [way.server, way.client].map(|place| self.places[place].v4());
                let saw = without_addresses(self.meet(way, address, row, server), address, ends);
                let Some(first) = &first else {
                    first = Some(saw);
                    continue;
                };
                let (first, saw) = (way.compared(first), way.compared(&saw));
                match row.excuses(&first, &saw) {
                    Some(names) => shown.extend(names),
                    None => {
                        let what = differences_of(&first, &saw);
                        writeln!(told, "{} / {} · {}\n{what}", scene.name, row.name, way.name).unwrap();
                    }
                }
            }
            for difference in row.shows.iter().filter(|difference| !shown.contains(difference.name)) {
                writeln!(told, "{} / {}: no longer shows `{}`: take it away\n", scene.name, row.name, difference.name)
                    .unwrap();
            }
        }
        told
    }

    fn meet(&self, way: &Way, address: SocketAddr, row: &Row, server: &Listening) -> Saw {
        server.forget();
        let place = &self.places[way.client];
        let client = match &row.client {
            Client::Script(script) => place
                .run(|| match TcpStream::connect(address) {
                    Ok(stream) => {
                        let record = Arc::new(Record::default());
                        script(&mut Peer::new(stream, record.clone()));
                        record.take()
                    }
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => vec!["a reset".to_owned()],
                    Err(error) => vec![format!("not connected: {error}")],
                })
                .unwrap(),
            Client::Program(command) => {
                let output = place.run(|| command(address).unwrap().stdin(Stdio::null()).output()).unwrap();
                let output = output.unwrap_or_else(|error| panic!("{}: {error}", row.name));
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                if !output.status.success() {
                    lines.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
                }
                lines
            }
        };
        Saw { client, server: server.heard() }
    }

    fn listen(&self, scene: &Scene, place: usize, port: u16) -> Listening {
        let namespace = &self.places[place];
        let address = SocketAddr::from((namespace.v4(), port));
        match &scene.server {
            Server::Nobody => Listening { program: None, script: None },
            Server::Program(command) => {
                let folder = self.folder.join(format!("server-{port}-{place}"));
                std::fs::create_dir(&folder).unwrap();
                let program = Process::start("server", namespace, &folder, &mut command(address, &folder).unwrap());
                wait::until_true(&format!("{} listens on {address}", scene.name), || {
                    namespace.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()).unwrap()
                });
                Listening { program: Some(program), script: None }
            }
            Server::Script(script) => {
                let script = *script;
                let listener = namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()).unwrap();
                let connections: Arc<Connections> = Arc::default();
                let accepted = connections.clone();
                std::thread::spawn(move || {
                    for stream in listener.incoming() {
                        let Ok(stream) = stream else { return };
                        let record = Arc::new(Record::default());
                        accepted.lock().unwrap().push(record.clone());
                        std::thread::spawn(move || {
                            script(&mut Peer::new(stream, record.clone()));
                            record.end();
                        });
                    }
                });
                Listening { program: None, script: Some(connections) }
            }
        }
    }
}

/// A server of a scene in one place.
struct Listening {
    program: Option<Process>,
    script: Option<Arc<Connections>>,
}

impl Listening {
    fn forget(&self) {
        if let Some(connections) = &self.script {
            connections.lock().unwrap().iter().for_each(|connection| drop(connection.take()));
        }
    }

    /// What each connection heard, when all scripts have ended. One that heard nothing and was closed is not told:
    /// a sidecar that has to find out what a client speaks may dial ahead.
    fn heard(&self) -> Vec<Vec<String>> {
        let Some(connections) = &self.script else {
            assert!(self.program.as_ref().is_none_or(|program| !program.output().contains("panicked")));
            return Vec::new();
        };
        let start = Instant::now();
        while !connections.lock().unwrap().iter().all(|connection| connection.is_settled())
            && start.elapsed() < Duration::from_secs(12)
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut heard: Vec<_> = connections.lock().unwrap().iter().map(|connection| connection.take()).collect();
        heard.retain(|lines| lines.iter().any(|line| line != "the end"));
        // Dialled ahead as well, and not used: a server that speaks first hears a reset, because nobody took its words.
        let unused = |lines: &Vec<String>| lines.iter().all(|line| line == "the end" || line == "a reset");
        if !heard.iter().all(unused) {
            heard.retain(|lines| !unused(lines));
        }
        heard.sort();
        heard
    }
}

/// The connections of a scripted server.
type Connections = Mutex<Vec<Arc<Record>>>;

struct Bare(Namespace);

impl Deref for Bare {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.0
    }
}

/// The same, with words for the address of the server's and of the client's end, which differ from way to way.
fn without_addresses(saw: Saw, dialled: SocketAddr, [server, client]: [Ipv4Addr; 2]) -> Saw {
    // In whole: one may begin another.
    let addresses = [
        (dialled.to_string(), "SERVER"),
        (dialled.ip().to_string(), "SERVER"),
        (server.to_string(), "SERVER"),
        (client.to_string(), "CLIENT"),
    ];
    each_line(saw, |line| {
        addresses.iter().fold(line.to_owned(), |line, (address, word)| {
            let mut rest = line.as_str();
            let mut told = String::new();
            while let Some(at) = rest.find(address) {
                let after = &rest[at + address.len()..];
                told.push_str(&rest[..at]);
                told.push_str(if after.starts_with(|next: char| next.is_ascii_digit()) { address } else { word });
                rest = after;
            }
            told + rest
        })
    })
}

fn each_line(saw: Saw, change: impl Fn(&str) -> String) -> Saw {
    let all =
        |lines: Vec<String>| lines.iter().map(|line| change(line)).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let mut server: Vec<Vec<String>> = saw.server.into_iter().map(all).filter(|lines| !lines.is_empty()).collect();
    server.sort();
    Saw { client: all(saw.client), server }
}

fn differences_of(first: &Saw, saw: &Saw) -> String {
    let mut text = String::new();
    for (who, without, with) in [
        ("client", format!("{:#?}", first.client), format!("{:#?}", saw.client)),
        ("server", format!("{:#?}", first.server), format!("{:#?}", saw.server)),
    ] {
        if without != with {
            writeln!(text, "  {who} without: {without}\n  {who} with:    {with}").unwrap();
        }
    }
    text
}

fn service_ip(net: u8, index: usize) -> Ipv4Addr {
    // As long as the address of a pod: some servers tell it, and with it how long what they tell is.
    Ipv4Addr::new(10, 96, net, u8::try_from(index).unwrap() + 10)
}

/// A Service without a route and, for HTTP, one with a route that changes nothing; both lead to the strict pod.
fn services(index: usize, http: bool) -> String {
    let port = FIRST_PORT + u16::try_from(index).unwrap();
    let service = |name: &str, net| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}-{index}, namespace: shop}}\nspec:\n  clusterIP: {}\n  \
             selector: {{app: strict}}\n  ports: [{{port: {port}, targetPort: {port}}}]\n",
            service_ip(net, index)
        )
    };
    let mut yaml = service("plain", 1);
    if http {
        yaml.push_str(&service("routed", 2));
        yaml.push_str(&outrigger_tests::yaml::http_route(
            &format!("routed-{index}"),
            &format!("routed-{index}"),
            &format!(
                "    - matches: [{{path: {{type: PathPrefix, value: /kept}}}}]\n      backendRefs: [{{name: routed-{index}, port: {port}}}]\n    \
                 - matches: [{{path: {{type: PathPrefix, value: /}}}}]\n      backendRefs: [{{name: routed-{index}, port: {port}}}]\n"
            ),
        ));
    }
    yaml
}
