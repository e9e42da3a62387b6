//! gorilla/websocket's client and server: upgrade, compression, long messages, silence, ping, close codes.

use std::time::Duration;

use outrigger_tests::peers::websocket;
use outrigger_tests::{Mesh, yaml};

use super::{connections, enter_with, every_address, fails, parsed, serve, succeeds};

const CHAT: &str = "10.96.0.40";

#[test]
fn a_conversation_passes_between_meshed_and_unmeshed() {
    let Some(sandbox) = enter_with([websocket::server(every_address(1))]) else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("chat", CHAT, 80, 8080));
    let pod = mesh.pod("chat-1", "chat");
    let bare = mesh.bare("bare-chat");
    let _servers = [&*pod, &bare].map(|at| serve(&mesh, at, 8080, websocket::server(every_address(8080))));
    let client = mesh.pod("client-1", "client");
    let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
    let outside = mesh.bare("outside");

    let (by_address, to_bare) = (format!("{}:8080", pod.ip()), format!("{}:8080", bare.v4()));
    for (from, to) in [
        (&*client, CHAT),
        (&*client, &by_address),
        (&*client, &to_bare),
        (&*over_http2, CHAT),
        (&*over_http2, &by_address),
        (&outside, &by_address),
    ] {
        let dial = |path: &str| websocket::client(&format!("ws://{to}{path}"), Duration::from_millis(300));
        assert_eq!(succeeds(from, dial("/chat?room=1")), "ok\n", "{} to {to}", from.name());
        assert!(fails(from, dial("/refused")).contains("403"));
    }

    // The pod may count one without a byte: a sidecar dials for bytes, too, when a client is slow to say its first.
    assert_eq!([&client, &over_http2].map(|from| connections(from, "outbound", "mutual")), [0.0, 0.0]);
    assert_eq!((parsed(&client), parsed(&over_http2), parsed(&pod)), (4.0, 4.0, 10.0), "an upgrade is a request");
    // What is not part of the mesh is passed through as it is.
    assert_eq!(connections(&client, "outbound", "none"), 2.0);
}
