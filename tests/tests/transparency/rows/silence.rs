//! Silence: connections and messages that pause. For a second; with `cargo xtask test --only transparency --long` for minutes.

use crate::peer::Peer;
use crate::ways::{Row, Scene, Server, compare};

/// Ends a chain of steps.
const fn done(_: &mut Peer) {}

fn scene(name: &'static str, http: bool, server: fn(&mut Peer), client: fn(&mut Peer)) -> Scene {
    Scene { name, server: Server::Script(server), http, rows: vec![Row::script("a pause", client)] }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn nothing_ends_because_nobody_says_anything() {
    compare(vec![
        scene(
            "a client of bytes pauses",
            false,
            |peer| {
                done(peer.patient().hear("hello\n").send("welcome\n").hear("again\n").send("still here\n").hear_end())
            },
            |peer| done(peer.send("hello\n").hear("welcome\n").quiet().send("again\n").hear("still here\n")),
        ),
        scene(
            "a server of bytes pauses",
            false,
            |peer| done(peer.hear("question\n").quiet().send("answer\n").hear_end()),
            |peer| done(peer.patient().send("question\n").hear("answer\n")),
        ),
        scene(
            "a client ends its side, and the server pauses",
            false,
            |peer| done(peer.hear_end().quiet().send("answer\n")),
            |peer| done(peer.patient().send("question\n").finish().hear_end()),
        ),
        scene(
            "a connection is used again",
            true,
            |peer| {
                while peer.hear_request() {
                    peer.send(OK);
                }
            },
            |peer| done(peer.send(GET).hear_message().quiet().send(GET).hear_message()),
        ),
        scene(
            "a response is waited for",
            true,
            |peer| {
                while peer.hear_request() {
                    peer.quiet().send(OK);
                }
            },
            |peer| done(peer.patient().send(GET).hear_message()),
        ),
        scene(
            "a response pauses",
            true,
            |peer| {
                while peer.hear_request() {
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").quiet().send("world");
                }
            },
            |peer| done(peer.patient().send(GET).hear_message()),
        ),
        scene(
            "a request pauses",
            true,
            |peer| {
                peer.patient();
                while peer.hear_request() {
                    peer.send(OK);
                }
            },
            |peer| {
                let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
                done(peer.send(head).quiet().send("world").hear_message());
            },
        ),
        scene(
            "an upgraded connection pauses",
            true,
            |peer| {
                peer.patient();
                if peer.hear_request() {
                    peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                    peer.hear("again\n").send("still here\n").hear_end();
                }
            },
            |peer| {
                peer.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                done(peer.hear_message().quiet().send("again\n").hear("still here\n"));
            },
        ),
    ]);
}
