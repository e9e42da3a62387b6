//! What `stat`, `top` and `graph` print of a document, word for word. `OUTRIGGER_BLESS=1 cargo test --test traffic` writes the files anew; read the
//! difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

#[test]
fn stat_by_workload_service_route_and_backend() {
    let address = serve(document());
    golden("stat-workload.txt", address, &["stat"], 0);
    golden("stat-wide.txt", address, &["stat", "workload", "-o", "wide", "-n", "shop"], 0);
    golden("stat-service.txt", address, &["stat", "svc"], 0);
    golden("stat-route.txt", address, &["stat", "route", "web", "-o", "yaml"], 0);
    golden("stat-backend.json", address, &["stat", "backend", "-o", "json"], 0);
}

#[test]
fn graph_as_text_dot_mermaid_and_json() {
    let address = serve(document());
    golden("graph.txt", address, &["graph"], 0);
    golden("graph.dot", address, &["graph", "-o", "dot"], 0);
    golden("graph.mmd", address, &["graph", "-o", "mermaid", "-n", "shop"], 0);
    golden("graph.json", address, &["graph", "-o", "json", "-n", "billing"], 0);
}

#[test]
fn top_prints_plain_tables_where_there_is_no_terminal() {
    golden("top.txt", serve(document()), &["top", "--count", "1"], 0);
}

#[test]
fn what_is_empty_says_why_and_what_to_do() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut document = document();
        change(&mut document);
        serve(document)
    };
    let nobody = with(&|document| document["sidecars"] = json!({"connected": 0, "capable": 0, "reporting": 0}));
    let nobody_and_nothing = with(&|document| {
        document["sidecars"] = json!({"connected": 0, "capable": 0, "reporting": 0});
        document["edges"] = json!([]);
    });
    golden("empty-no-sidecar.txt", nobody_and_nothing, &["stat"], 1);
    golden("stat-service.txt", nobody, &["stat", "svc"], 0);
    let old = with(&|document| {
        document["sidecars"] = json!({"connected": 6, "capable": 0, "reporting": 0});
        document["edges"] = json!([]);
    });
    golden("empty-old.txt", old, &["graph"], 1);
    golden("empty-quiet.txt", with(&|document| document["edges"] = json!([])), &["stat"], 1);
    golden("empty-namespace.txt", serve(document()), &["stat", "-n", "shipping"], 1);
    golden("empty-name.txt", serve(document()), &["stat", "svc", "nowhere", "-A"], 1);
}

#[test]
fn what_is_missing_in_the_answer_is_said() {
    let mut document = document();
    document["sidecars"] = json!({"connected": 6, "capable": 5, "reporting": 5});
    document["refusedEdges"] = json!(3);
    golden("stat-partial.txt", serve(document), &["stat", "svc"], 0);
}

fn document() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traffic/edges.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// An admin endpoint that shows this document to everybody who asks, until the test's process ends.
fn serve(document: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = document.to_string();
    std::thread::spawn(move || {
        for io in listener.incoming() {
            let mut io = io.unwrap();
            let mut head = [0; 4096];
            let read = io.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /edges"), "{}", String::from_utf8_lossy(&head[..read]));
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            io.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    address
}

/// Compares stdout, stderr and the exit code.
fn golden(name: &str, address: SocketAddr, args: &[&str], code: i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    let output = command.args(args).args(["--control-plane", &address.to_string()]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traffic").join(name);
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(expected, text, "{name}: {args:?}");
}
