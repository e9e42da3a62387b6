//! What the control plane, and `outrigger stat` with it, knows of traffic that was really there.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_tests::{App, Mesh, Pod, Reply, binary, enter, wait, yaml};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "10.96.0.10";
const DB: &str = "10.96.0.20";
const CLOSED: &str = "10.96.0.21";

/// Every request to `web` is repeated once when it fails with 503.
fn yaml() -> String {
    let rule = "    - retry: {codes: [503], attempts: 1, backoff: 1ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let budget = "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web, namespace: shop}\n\
         spec: {targetRefs: [{group: '', kind: Service, name: web}], retryBudget: {percent: 100, minRetriesPerSecond: 1000}}\n";
    let closed = yaml::service_with("closed", CLOSED, 9, 9, "").replace("app: closed", "app: db");
    yaml::service("web", WEB, 80, 8080)
        + &yaml::http_route("web", "web", rule)
        + budget
        + &yaml::service_with("db", DB, 5432, 5432, "")
        + &closed
}

/// Fails each first attempt; `/hold` is answered when nobody waits for it any more.
fn flaky(pod: &Pod) -> App {
    let calls = Arc::new(AtomicUsize::new(0));
    App::http(pod, 8080, move |seen| {
        if seen.path == "/hold" {
            return Reply::ok("late").after(Duration::from_secs(60));
        }
        if calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { Reply::status(503) } else { Reply::ok("fine") }
    })
}

/// Looks closely, and returns what was seen in the last minute.
fn edges(mesh: &Mesh) -> Value {
    let _looked = mesh.control_plane_get("/edges/live");
    mesh.control_plane_get("/edges").map(|page| page.json()).unwrap_or_default()
}

/// Waits until counting has begun at so many sidecars.
fn begun(mesh: &Mesh, sidecars: u64) {
    wait::until_true("sidecars report", || edges(mesh)["sidecars"]["reporting"] == sidecars);
}

/// The edge of a workload with these names, as soon as it is as expected.
fn edge(
    mesh: &Mesh,
    (direction, workload, backend, peer): (&str, &str, &str, &str),
    is: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait::until(&format!("{direction} traffic of {workload} to {backend}"), || {
            last = edges(mesh);
            let of = |edge: &&Value| {
                edge["direction"] == direction
                    && edge["workload"] == workload
                    && edge["backend"] == backend
                    && edge["peer"] == peer
            };
            last["edges"].as_array()?.iter().find(of).filter(|edge| is(edge)).cloned()
        })
    }));
    found.unwrap_or_else(|_| panic!("what was seen last: {last:#}"))
}

/// Sends a request, and leaves with a reset when the app has it.
fn leave(client: &Pod, app: &App) {
    let mut stream = client.run_in(|| TcpStream::connect((WEB, 80))).unwrap();
    stream.write_all(b"GET /hold HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    wait::until_true("the app works on it", || app.seen().iter().any(|seen| seen.path == "/hold"));
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn counts_are_true_before_and_after_retries_for_clients_that_leave_and_for_bytes() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml());
    let (web, db) = (mesh.pod("web-1", "web"), mesh.pod("db-1", "db"));
    let app = flaky(&web);
    let _db = App::tcp(&db, 5432, |mut stream| {
        Box::pin(async move {
            let mut question = [0; 4];
            let asked = stream.read_exact(&mut question).await;
            let _ = (asked, stream.write_all(b"answers!").await);
        })
    });
    let client = mesh.pod("client-1", "client");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200, "before anybody looks");
    begun(&mesh, 3);

    for _ in 0..20 {
        assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);
    }
    leave(&client, &app);
    for _ in 0..3 {
        let mut stream = client.run_in(|| TcpStream::connect((DB, 5432))).unwrap();
        stream.write_all(b"ask!").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answers!");
    }
    let mut refused = client.run_in(|| TcpStream::connect((CLOSED, 9))).unwrap();
    let _ = refused.write_all(b"ask!");
    assert!(!matches!(refused.read(&mut [0; 8]), Ok(1..)), "nobody listens");

    let sent = edge(&mesh, ("outbound", "client", "shop/web:80", "shop/web"), |edge| {
        edge["requests"]["ended"] == json!({"ok": 20}) && edge["requests"]["abandoned"] == 1
    });
    assert_eq!(sent["attempts"]["ended"], json!({"ok": 20, "serverError": 20}), "{sent:#}");
    assert_eq!(
        (&sent["attempts"]["abandoned"], &sent["started"], &sent["inFlight"]),
        (&json!(1), &json!(41), &json!(0))
    );
    assert_eq!((&sent["rule"], &sent["tls"]), (&json!("HTTPRoute/shop/web/0"), &json!("mutual")));
    let received = edge(&mesh, ("inbound", "web", "", "shop/client"), |edge| {
        edge["requests"]["ended"] == json!({"ok": 20, "serverError": 20}) && edge["requests"]["abandoned"] == 1
    });
    assert_eq!(received["attempts"]["ended"], json!({"ok": 20, "serverError": 20}), "{received:#}");

    let is_over = |edge: &Value| edge["connections"]["opened"] == 3 && edge["connections"]["open"] == 0;
    let bytes = edge(&mesh, ("outbound", "client", "shop/db:5432", "shop/db"), is_over);
    assert_eq!([&bytes["connections"]["sentBytes"], &bytes["connections"]["receivedBytes"]], [12, 24], "{bytes:#}");
    let bytes = edge(&mesh, ("inbound", "db", "", "shop/client"), is_over);
    assert_eq!([&bytes["connections"]["sentBytes"], &bytes["connections"]["receivedBytes"]], [24, 12], "{bytes:#}");
    // One connection of the application, for which its sidecar has tried three times.
    let refused = |count: u64| move |edge: &Value| edge["connections"]["failed"] == json!({"refused": count});
    edge(&mesh, ("outbound", "client", "shop/closed:9", "shop/db"), refused(1));
    edge(&mesh, ("inbound", "db", "", "shop/client"), refused(3));

    // As the command shows it. Each request fails once, so that the shares are the same in every window.
    wait::until_true("stat shows both shares", || {
        (0..5).for_each(|_| assert_eq!(client.get(&format!("http://{WEB}/")).status, 200));
        let stat = stat(&mesh, &["stat", "service", "web", "-o", "json"]);
        let item = &stat["items"][0];
        [&item["success"], &item["successBeforeRetries"], &item["mutualTls"]] == [1.0, 0.5, 1.0]
    });
    let graph = stat(&mesh, &["graph", "-o", "json"]);
    let web = json!({"kind": "workload", "namespace": "shop", "name": "web"});
    let links = graph["edges"].as_array().unwrap();
    assert!(links.iter().any(|link| link["to"] == web && link["from"]["name"] == "client"), "{graph:#}");
}

#[test]
fn a_restarted_sidecar_and_a_restarted_control_plane_count_on() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml());
    let web = mesh.pod("web-1", "web");
    let _app = flaky(&web);
    let mut client = mesh.pod("client-1", "client");
    begun(&mesh, 2);
    let send = |client: &Pod| (0..10).for_each(|_| assert_eq!(client.get(&format!("http://{WEB}/")).status, 200));
    let has = |count: u64| move |edge: &Value| edge["requests"]["ended"] == json!({"ok": count});
    let sent = ("outbound", "client", "shop/web:80", "shop/web");
    send(&client);
    edge(&mesh, sent, has(10));

    client.kill_sidecar();
    wait::until_true("the control plane has noticed", || edges(&mesh)["sidecars"]["connected"] == 1);
    client.start_sidecar();
    client.ready();
    begun(&mesh, 2);
    send(&client);
    edge(&mesh, sent, has(20));

    mesh.kill_control_plane();
    send(&client);
    mesh.start_control_plane();
    begun(&mesh, 2);
    send(&client);
    edge(&mesh, sent, has(10));
}

/// What a command prints, at the control plane.
fn stat(mesh: &Mesh, args: &[&str]) -> Value {
    let mut command = Command::new(binary());
    command.args(args).args(["--control-plane", "127.0.0.1:4182"]);
    let output = mesh.home().run(|| command.output()).unwrap().unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
