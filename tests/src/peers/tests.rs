//! Each peer against itself, with no mesh between: what fails here is the peer's driver, not the mesh.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PeerError, finish, gateway_api, grpc, jaeger, mariadb, postgres, redis, smtp, soak, websocket};

#[test]
fn grpc_passes_every_case() {
    if !alone("grpc_passes_every_case", || grpc::client("", 1, "").and_then(|_| grpc::server(1))) {
        return;
    }
    let server = address(10000);
    let _server = Running::start(grpc::server(server.port()).unwrap(), server);
    for case in grpc::CASES {
        let run = || finish(case, &mut grpc::client("127.0.0.1", server.port(), case).unwrap());
        // In this one the client's cancel races with its own end of the stream, which a server next door may answer first.
        let again = if *case == "cancel_after_begin" { 2 } else { 0 };
        let first = run();
        (0..again).fold(first, |result, _| result.or_else(|_| run())).unwrap();
    }
    finish("a case that nobody serves", &mut grpc::client("127.0.0.1", 9, "empty_unary").unwrap())
        .expect_err("a client that always succeeds proves nothing");
}

#[test]
fn what_the_soak_runs_lasts_and_notices_an_end() {
    let short = Duration::from_secs(2);
    let needs = || {
        soak::server(address(1))
            .and_then(|_| soak::node(address(1), short))
            .and_then(|_| soak::python(address(1), short))
    };
    if !alone("what_the_soak_runs_lasts_and_notices_an_end", needs) {
        return;
    }
    let server = address(8080);
    let running = Running::start(soak::server(server).unwrap(), server);
    let clients = || {
        [soak::client(server, server, short), soak::node(server, short), soak::python(server, short)]
            .map(Result::unwrap)
    };
    for mut client in clients() {
        finish("the clients", &mut client).unwrap();
    }
    drop(running);
    for mut client in clients() {
        finish("clients without a server", &mut client).expect_err("a client that always succeeds proves nothing");
    }
}

#[test]
fn websocket_passes_and_notices_a_refusal() {
    if !alone("websocket_passes_and_notices_a_refusal", || websocket::server(address(1))) {
        return;
    }
    let server = address(8080);
    let _server = Running::start(websocket::server(server).unwrap(), server);
    let dial = |path| {
        let mut client = websocket::client(&format!("ws://{server}{path}"), Duration::from_millis(10)).unwrap();
        finish("dial", &mut client)
    };
    assert_eq!(dial("/chat").unwrap(), "ok\n");
    assert!(dial("/refused").unwrap_err().to_string().contains("403"));
}

#[test]
fn smtp_speaks_first_and_takes_mail() {
    if !alone("smtp_speaks_first_and_takes_mail", || smtp::server(address(1))) {
        return;
    }
    let (folder, server) = (folder("smtp"), address(2525));
    let _server = Running::start(smtp::server(server).unwrap(), server);
    let mail = folder.path.join("mail");
    std::fs::write(&mail, "Subject: hello\r\n\r\nbody\r\n").unwrap();
    finish("curl", &mut smtp::client(server, &mail).unwrap()).unwrap();
}

#[test]
fn redis_answers_and_takes_load() {
    if !alone("redis_answers_and_takes_load", || redis::server(address(1))) {
        return;
    }
    let server = address(6379);
    let _server = Running::start(redis::server(server).unwrap(), server);
    assert_eq!(finish("redis-cli", &mut redis::client(server, &["PING"]).unwrap()).unwrap(), "PONG\n");
    finish("a wrong command", &mut redis::client(server, &["NOSUCH"]).unwrap()).expect_err("redis refuses it");
    let figures = finish("redis-benchmark", &mut redis::benchmark(server, 1000).unwrap()).unwrap();
    assert!(figures.contains("\"SET\"") && figures.contains("\"GET\""), "{figures}");
}

#[test]
fn mariadb_answers_queries() {
    if !alone("mariadb_answers_queries", || mariadb::server("/".as_ref(), address(1))) {
        return;
    }
    let (folder, server) = (folder("mariadb"), address(3306));
    let _server = Running::start(mariadb::server(&folder.path, server).unwrap(), server);
    let sql = "create database t; create table t.t (a longblob); insert into t.t values (repeat('x', 1000000)); \
               select a from t.t";
    let answer = finish("mariadb", &mut mariadb::client(server, sql).unwrap()).unwrap();
    assert_eq!(answer.trim().len(), 1_000_000);
}

#[test]
fn postgres_answers_queries() {
    if !alone("postgres_answers_queries", || postgres::client(address(1), "")) {
        return;
    }
    let (folder, server) = (folder("postgres"), address(5432));
    let _server = Running::start(postgres::server(&folder.path, server).unwrap(), server);
    let sql = "select repeat('x', 1000000)";
    let answer = finish("psql", &mut postgres::client(server, sql).unwrap()).unwrap();
    assert_eq!(answer.trim().len(), 1_000_000);
}

#[test]
fn jaeger_takes_spans_and_gives_them_back() {
    let listen = jaeger::Addresses { otlp_grpc: address(4317), otlp_http: address(4318), query: address(16686) };
    if !alone("jaeger_takes_spans_and_gives_them_back", || jaeger::server(listen)) {
        return;
    }
    let _server = Running::start(jaeger::server(listen).unwrap(), listen.query);
    await_port(listen.otlp_http);
    await_port(listen.otlp_grpc);
    let span = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},
        "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /",
        "kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000001000000000"}]}]}]}"#;
    let mut post = Command::new("curl");
    post.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--json", span]);
    finish("post a span", post.arg(format!("http://{}/v1/traces", listen.otlp_http))).unwrap();
    let path = "/api/traces/5b8efff798038103d269b633813fc60c";
    let trace = eventually(|| finish("query", &mut jaeger::query(listen, path).unwrap()).ok());
    assert!(trace.contains(r#""operationName":"GET /""#) && trace.contains(r#""serviceName":"web""#), "{trace}");
}

#[test]
fn the_reference_has_every_field_of_the_standard_channel() {
    let folder = match gateway_api::standard_channel() {
        Ok(folder) => folder,
        Err(error) => {
            assert!(std::env::var_os(REQUIRED).is_none(), "{error}");
            eprintln!("SKIPPED the_reference_has_every_field_of_the_standard_channel: {error}");
            return;
        }
    };
    let page = std::fs::read_to_string(super::build::root().join("docs/reference/gateway-api.md")).unwrap();
    for (kind, file) in [("HTTPRoute", "http"), ("GRPCRoute", "grpc"), ("TLSRoute", "tls"), ("TCPRoute", "tcp")] {
        let section = page.split("\n## ").find(|section| section.starts_with(kind)).unwrap();
        let rows: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let file = folder.join(format!("gateway.networking.k8s.io_{file}routes.yaml"));
        let crd: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let stored = versions.iter().find(|version| version["storage"] == true).unwrap();
        let mut fields = Vec::new();
        leaves(&stored["schema"]["openAPIV3Schema"]["properties"]["spec"], "", &mut fields);
        assert!(fields.len() > 10, "{kind}: {fields:?}");

        let covers = |row: &str, field: &str| {
            field.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let missing: Vec<&String> = fields.iter().filter(|field| !rows.iter().any(|row| covers(row, field))).collect();
        assert!(missing.is_empty(), "{kind}: no row has {missing:?}");
        let stale: Vec<&&str> = rows.iter().filter(|row| !fields.iter().any(|field| covers(row, field))).collect();
        assert!(stale.is_empty(), "{kind}: no field is {stale:?}");
    }
}

/// The fields that hold no others, by their paths.
fn leaves(schema: &Value, path: &str, fields: &mut Vec<String>) {
    if schema["type"] == "array" {
        return leaves(&schema["items"], &format!("{path}[]"), fields);
    }
    let Some(properties) = schema["properties"].as_object() else { return fields.push(path.to_owned()) };
    for (name, field) in properties {
        let dot = if path.is_empty() { "" } else { "." };
        leaves(field, &format!("{path}{dot}{name}"), fields);
    }
}

/// Whether this process is alone in a network namespace, where every port is free. When it is not, it starts `test`
/// again inside one, and that copy is the test. `ready` builds or finds the peer beforehand, while there is a network.
fn alone(test: &str, ready: impl FnOnce() -> Result<Command, PeerError>) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        finish("bring up lo", Command::new("ip").args(["link", "set", "lo", "up"])).unwrap();
        return true;
    }
    if let Err(error) = ready() {
        // A program that is not installed is named by `cargo xtask test`, which installs it where it may.
        assert!(std::env::var_os(REQUIRED).is_none(), "{error}");
        eprintln!("SKIPPED {test}: {error}");
        return false;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--kill-child", "--fork"]);
        command
    };
    if let Err(error) = finish("unshare", unshare().arg("true")) {
        assert!(std::env::var_os("OUTRIGGER_REQUIRE_NETNS").is_none(), "{error}");
        eprintln!("SKIPPED {test}: it needs a network namespace: {error}");
        return false;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args(["--exact", "--nocapture", &format!("peers::tests::{test}")]);
    let output = finish(test, again.env(INSIDE, "1")).unwrap_or_else(|error| panic!("{error}"));
    assert!(output.contains("1 passed"), "{output}");
    false
}

/// A server that ends with the test.
struct Running(Child);

impl Running {
    fn start(mut command: Command, listens: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut running = Self(child);
        eventually(|| {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            TcpStream::connect(listens).ok()
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it ends");
    }
}

/// A temporary folder that vanishes with the test.
struct Folder {
    path: PathBuf,
}

fn folder(name: &str) -> Folder {
    let path = std::env::temp_dir().join(format!("outrigger-peer-{name}-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    Folder { path }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => eprintln!("{}: {error}", self.path.display()),
            _ => {}
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn await_port(address: SocketAddr) {
    eventually(|| TcpStream::connect(address).ok());
}

fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "it did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Set in the copy of the test that runs inside the namespace.
const INSIDE: &str = "OUTRIGGER_TEST_ALONE";
/// Set where every peer has to be there.
const REQUIRED: &str = "OUTRIGGER_REQUIRE_PEERS";
/// Only a broken peer takes as long.
const PATIENCE: Duration = Duration::from_secs(120);
