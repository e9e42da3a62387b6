//! The commands as a user or a script runs them: what they print, where, and how they end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

#[test]
fn explain_says_means_causes_and_next() {
    let output = outrigger(&["explain", "e006"]);

    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.starts_with("E006 tls_certificate_error\nanswer  HTTP 502, gRPC 14 UNAVAILABLE\nmeans "), "{text}");
    assert!(text.contains("\ncauses ") && text.contains("\nnext "), "{text}");
    assert_eq!(stdout(&outrigger(&["explain", "tls_certificate_error"])), text);
}

#[test]
fn explain_of_an_unknown_code_suggests_one_and_could_not_find_out() {
    let output = outrigger(&["explain", "E099"]);

    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).starts_with("error: no error code `E099`\n\nhint: did you mean `E"), "{}", stderr(&output));
}

#[test]
fn json_output_is_one_versioned_document() {
    for args in
        [&["explain", "E001", "-o", "json"][..], &["explain", "--list", "-o", "json"], &["version", "-o", "json"]]
    {
        let document: Value = serde_json::from_slice(&outrigger(args).stdout).unwrap();
        assert_eq!(document["apiVersion"], "cli.outrigger.io/v1", "{args:?}");
        assert!(document["kind"].is_string(), "{args:?}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in
        [&["explain"][..], &["no-such-command"], &["demo", "--no-such-flag"], &["run", "--service", "A", "--", "x"]]
    {
        assert_eq!(outrigger(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn completion_scripts_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&outrigger(&["completion", shell]));
        assert!(script.contains("explain"), "{shell}");
        assert!(!script.contains("sandbox-exec"), "{shell}");
    }
}

#[test]
fn without_a_mesh_check_and_run_say_how_to_start_one() {
    for args in [&["check"][..], &["run", "--service", "a", "--port", "1", "--", "true"]] {
        let output = outrigger(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("hint: start one in another terminal: outrigger demo --keep"), "{args:?}");
    }
}

#[test]
fn check_of_a_healthy_mesh_is_yes() {
    let control_plane = admin(config(7), sidecars(7));
    let sidecar = admin(sidecar(), json!(null));

    let output = check(control_plane, sidecar, &[]);

    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("2 ok categories, 0 warnings, 0 errors\n"), "{}", stdout(&output));
}

#[test]
fn check_of_a_sick_mesh_is_no_whatever_the_format() {
    let mut broken = config(7);
    broken["sourceErrors"] = json!(["route.yaml:3:1: unknown field `weigth`"]);
    let control_plane = admin(broken, sidecars(7));
    let sidecar = admin(sidecar(), json!(null));

    let table = check(control_plane, sidecar, &[]);
    let json = check(control_plane, sidecar, &["-o", "json"]);

    assert_eq!((table.status.code(), json.status.code()), (Some(1), Some(1)));
    assert!(stdout(&table).contains("OC002 route.yaml:3:1: unknown field `weigth`"), "{}", stdout(&table));
    let document: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&document["ok"], &document["errors"]), (&json!(false), &json!(1)));
}

#[test]
fn a_warning_is_a_no_only_when_asked_for() {
    let control_plane = admin(config(7), sidecars(6));
    let sidecar = admin(sidecar(), json!(null));

    assert_eq!(check(control_plane, sidecar, &[]).status.code(), Some(0));
    assert_eq!(check(control_plane, sidecar, &["--fail-on", "warn"]).status.code(), Some(1));
}

#[test]
fn check_of_nobody_could_not_find_out() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = outrigger(&["check", "--control-plane", &closed.to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("connect to {closed}")), "{}", stderr(&output));
}

fn config(snapshot: u64) -> Value {
    json!({"snapshot": snapshot, "synced": true, "trustDomain": "mesh.local", "counts": {}, "sourceErrors": [], "problems": []})
}

fn sidecars(acked: u64) -> Value {
    json!({"sidecars": [{"workload": "shop/web", "identity": "spiffe://m/web", "ackedSnapshot": acked, "lastAckAgeMs": 1}]})
}

fn sidecar() -> Value {
    json!({"workload": {"name": "shop/web"}, "sync": {"refused": []},
        "certificate": {"identity": "spiffe://m/web", "expiresInSeconds": 80_000, "lifetimeSeconds": 86_400}})
}

fn check(control_plane: SocketAddr, sidecar: SocketAddr, more: &[&str]) -> Output {
    let (control_plane, sidecar) = (control_plane.to_string(), sidecar.to_string());
    let args = ["check", "--control-plane", &control_plane, "--sidecar", &sidecar];
    outrigger(&[&args, more].concat())
}

/// An admin server with these pages; `/ready` says yes.
fn admin(config: Value, sidecars: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let body = match request.split(' ').nth(1) {
                Some("/config") => config.to_string(),
                Some("/sidecars") => sidecars.to_string(),
                _ => "ready\n".to_owned(),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    addr
}

/// Runs the command where no demo of the user's is in sight.
fn outrigger(args: &[&str]) -> Output {
    let empty = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no-demo");
    std::fs::create_dir_all(&empty).unwrap();
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(args).env("TMPDIR", empty).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
