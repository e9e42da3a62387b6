//! WebSocket, frame by frame, good and bad: a client with a mesh between hears what it hears without.

use std::net::{Ipv4Addr, SocketAddr};

use outrigger_tests::attack::websocket::{Case, Client, Heard, cases, echo, gorilla, run};
use outrigger_tests::peers::websocket;
use outrigger_tests::{Mesh, enter, yaml};

const CHAT: &str = "10.96.0.40";
const RAW: &str = "10.96.0.41";

#[test]
fn a_websocket_client_hears_the_same_with_a_mesh_and_without() {
    if let Err(error) = websocket::server(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1))) {
        assert!(std::env::var_os("OUTRIGGER_REQUIRE_PEERS").is_none(), "{error}");
        eprintln!("SKIPPED: {error}");
        return;
    }
    let Some(sandbox) = enter() else { return };
    let raw = yaml::service_with("raw", RAW, 80, 8081, "").replace("app: raw", "app: chat");
    let mut mesh = Mesh::start(sandbox, &(yaml::service("chat", CHAT, 80, 8080) + &raw));
    let pod = mesh.pod("chat-1", "chat");
    let (bare, outside) = (mesh.bare("bare"), mesh.bare("outside"));
    let client = mesh.pod("client-1", "client");
    let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
    let _servers = [&*pod, &bare].map(|at| (gorilla(at, mesh.folder(), 8080), echo(at, 8081)));

    let mut wrong = Vec::new();
    for (port, service, cases) in [(8080, CHAT, cases::all()), (8081, RAW, cases::as_bytes())] {
        let (by_address, to_bare) = (format!("{}:{port}", pod.ip()), format!("{}:{port}", bare.v4()));
        let plain = run(Client::Hasty, &cases, &outside, &to_bare);
        assert!(plain.iter().all(|heard| heard.ended), "{:?}", never_ended(&cases, &plain));
        let service = format!("{service}:80");
        for (way, from, to) in [
            ("both sidecars", &*client, &service),
            ("both sidecars, HTTP/2 between them", &*over_http2, &service),
            ("the inbound sidecar", &outside, &by_address),
            ("the outbound sidecar", &*client, &to_bare),
        ] {
            let heard = run(Client::Hasty, &cases, from, to);
            for (case, (heard, plain)) in cases.iter().zip(heard.iter().zip(&plain)) {
                if let Some(what) = heard.differs_from(plain) {
                    let (topic, name) = (case.topic, &case.name);
                    let (heard, plain) = (heard.described(), plain.described());
                    wrong.push(format!("{port}, {way}, {topic}, {name}: {what}\n  {heard}\n  without: {plain}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn never_ended<'a>(cases: &'a [Case], heard: &[Heard]) -> Vec<&'a str> {
    cases.iter().zip(heard).filter(|(_, heard)| !heard.ended).map(|(case, _)| &*case.name).collect()
}
