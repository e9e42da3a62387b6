//! Protocols that are not HTTP, and those on top of it, as their own programs speak them.

use std::process::Command;
use std::time::Duration;

use outrigger_tests::peers::transparency::{
    grpcio_client, grpcio_server, memcached, mosquitto, nats, python_client, sshd,
};
use outrigger_tests::peers::{grpc, mariadb, postgres, redis, smtp, websocket};

use crate::peer::Peer;
use crate::ways::{Row, Scene, Server, compare};

/// Ends a chain of steps.
const fn done(_: &mut Peer) {}

#[test]
fn databases_and_brokers() {
    let scene = |name, server, rows| Scene { name, server: Server::Program(server), http: false, rows };
    compare(vec![
        scene(
            "redis",
            |listen, _| redis::server(listen),
            vec![
                Row::program("PING", |server| redis::client(server, &["PING"])),
                Row::program("SET", |server| redis::client(server, &["SET", "a", "1"])),
                Row::program("an error", |server| redis::client(server, &["FROB"])),
                Row::script("inline, pipelined", |peer| {
                    done(peer.send("PING\r\nPING\r\nQUIT\r\n").hear_end().note("done"))
                }),
                Row::script("a command in pieces", |peer| {
                    done(peer.trickle("*1\r\n$4\r\nPING\r\n").hear("+PONG\r\n").note("done"))
                }),
            ],
        ),
        scene(
            "postgres",
            |listen, folder| postgres::server(&folder.join("data"), listen),
            vec![
                Row::program("SELECT", |server| postgres::client(server, "SELECT 1 + 1")),
                Row::program("an error", |server| postgres::client(server, "SELECT nothing")),
                Row::program("many rows", |server| {
                    postgres::client(server, "SELECT sum(n), max(repeat('x', n)) FROM generate_series(1, 20000) n")
                }),
                Row::script("asks for TLS", |peer| {
                    done(peer.send(b"\0\0\0\x08\x04\xd2\x16\x2f").hear("N").note("done"))
                }),
            ],
        ),
        scene(
            "mariadb",
            |listen, folder| mariadb::server(folder, listen),
            vec![
                Row::program("SELECT", |server| mariadb::client(server, "SELECT 6 * 7")),
                Row::program("an error", |server| mariadb::client(server, "SELECT * FROM none.none")),
            ],
        ),
        scene(
            "memcached",
            |listen, _| memcached(listen),
            vec![
                Row::script("version", |peer| done(peer.send("mn\r\n").hear("MN\r\n").note("done"))),
                Row::script("set and get", |peer| {
                    done(peer.send("set k 0 0 3\r\nabc\r\n").hear("STORED\r\n").send("get k\r\n").hear_until("END\r\n"))
                }),
                Row::script("GET in capitals", |peer| done(peer.send("GET k\r\n").hear("ERROR\r\n"))),
                Row::script("quit", |peer| done(peer.send("quit\r\n").hear_end())),
            ],
        ),
        scene(
            "smtp",
            |listen, _| smtp::server(listen),
            vec![
                Row::script("a conversation", |peer| {
                    peer.hear_until("\r\n")
                        .send("HELO a\r\n")
                        .hear_until("\r\n")
                        .send("NOOP\r\n")
                        .hear_until("\r\n")
                        .send("QUIT\r\n")
                        .hear_end();
                }),
                Row::script("only listens", |peer| done(peer.hear_until("\r\n"))),
            ],
        ),
        scene(
            "ssh",
            sshd,
            vec![
                Row::script("banners", |peer| {
                    done(peer.hear_until("\r\n").send("SSH-2.0-test\r\n").hear("\0\0").note("done"))
                }),
                Row::script("a wrong banner", |peer| done(peer.hear_until("\r\n").send("hello\r\n").hear_end())),
                Row::program("key scan", |server| {
                    let mut command = Command::new("ssh-keyscan");
                    command.args(["-t", "ed25519", "-p", &server.port().to_string(), &server.ip().to_string()]);
                    Ok(counted(command))
                }),
            ],
        ),
        scene(
            "mqtt",
            mosquitto,
            vec![
                Row::script("CONNECT and PING", |peer| {
                    peer.send(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc")
                        .hear(b"\x20\x02\0\0")
                        .send(b"\xc0\0")
                        .hear(b"\xd0\0")
                        .send(b"\xe0\0")
                        .hear_end();
                }),
                Row::script("a protocol that it does not know", |peer| {
                    done(peer.send(b"\x10\x0f\0\x04XXXX\x04\x02\0\x3c\0\x03abc").hear_end())
                }),
            ],
        ),
    ]);
}

/// Of keys that differ by server, only how many there are.
fn counted(command: Command) -> Command {
    let mut counted = Command::new("sh");
    counted
        .args(["-c", "\"$@\" 2> /dev/null | grep -c ssh-ed25519", "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    counted
}

/// In this one the client's cancel races with its own end of the stream, also without a mesh.
const RACES: &str = "cancel_after_begin";

fn call(case: &'static str) -> Row {
    Row::program(case, move |server| grpc::client(&server.ip().to_string(), server.port(), case))
}

#[test]
fn grpc_nats_and_websockets() {
    compare(vec![
        Scene {
            name: "grpc-go",
            server: Server::Program(|listen, _| grpc::server(listen.port())),
            http: true,
            rows: grpc::CASES.iter().filter(|case| **case != RACES).map(|case| call(case)).collect(),
        },
        Scene {
            name: "nats",
            server: Server::Program(|listen, _| nats(listen)),
            http: false,
            rows: vec![Row::program("publishes to itself", |server| python_client(server, "nats"))],
        },
        Scene {
            name: "grpcio",
            server: Server::Program(|listen, _| grpcio_server(listen)),
            http: true,
            rows: vec![Row::program("calls", grpcio_client)],
        },
        Scene {
            name: "gorilla/websocket",
            server: Server::Program(|listen, _| websocket::server(listen)),
            http: true,
            rows: vec![
                Row::program("chat", |server| {
                    websocket::client(&format!("ws://{server}/chat"), Duration::from_millis(300))
                }),
                Row::program("refused", |server| {
                    websocket::client(&format!("ws://{server}/refused"), Duration::from_millis(10))
                }),
            ],
        },
    ]);
}
