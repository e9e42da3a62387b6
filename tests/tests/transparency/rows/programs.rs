//! Protocols that are not HTTP, and those on top of it, as their own programs speak them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use outrigger_tests::peers::transparency::{memcached, mosquitto, sshd};
use outrigger_tests::peers::{PeerError, grpc, mariadb, postgres, redis, smtp, websocket};

use crate::peer::Peer;
use crate::ways::{Client, Row, Scene, Server, compare};

fn program(name: &'static str, client: fn(SocketAddr) -> Result<Command, PeerError>) -> Row {
    Row { name, client: Client::Program(client), shows: &[] }
}

/// Ends a chain of steps.
const fn done(_: &mut Peer) {}

fn script(name: &'static str, client: fn(&mut Peer)) -> Row {
    Row { name, client: Client::Script(client), shows: &[] }
}

#[test]
fn databases_and_brokers() {
    let scene = |name, server, rows| Scene { name, server: Server::Program(server), http: false, rows };
    compare(vec![
        scene(
            "redis",
            |listen, _| redis::server(listen),
            vec![
                program("PING", |server| redis::client(server, &["PING"])),
                program("SET", |server| redis::client(server, &["SET", "a", "1"])),
                program("an error", |server| redis::client(server, &["FROB"])),
                script("inline, pipelined", |peer| done(peer.send("PING\r\nPING\r\nQUIT\r\n").hear_end().note("done"))),
                script("a command in pieces", |peer| {
                    done(peer.trickle("*1\r\n$4\r\nPING\r\n").hear("+PONG\r\n").note("done"))
                }),
            ],
        ),
        scene(
            "postgres",
            |listen, folder| postgres::server(&folder.join("data"), listen),
            vec![
                program("SELECT", |server| postgres::client(server, "SELECT 1 + 1")),
                program("an error", |server| postgres::client(server, "SELECT nothing")),
                program("many rows", |server| {
                    postgres::client(server, "SELECT sum(n), max(repeat('x', n)) FROM generate_series(1, 20000) n")
                }),
                script("asks for TLS", |peer| done(peer.send(b"\0\0\0\x08\x04\xd2\x16\x2f").hear("N").note("done"))),
            ],
        ),
        scene(
            "mariadb",
            |listen, folder| mariadb::server(folder, listen),
            vec![
                program("SELECT", |server| mariadb::client(server, "SELECT 6 * 7")),
                program("an error", |server| mariadb::client(server, "SELECT * FROM none.none")),
            ],
        ),
        scene(
            "memcached",
            |listen, _| memcached(listen),
            vec![
                script("version", |peer| done(peer.send("mn\r\n").hear("MN\r\n").note("done"))),
                script("set and get", |peer| {
                    done(peer.send("set k 0 0 3\r\nabc\r\n").hear("STORED\r\n").send("get k\r\n").hear_until("END\r\n"))
                }),
                script("GET in capitals", |peer| done(peer.send("GET k\r\n").hear("ERROR\r\n"))),
                script("quit", |peer| done(peer.send("quit\r\n").hear_end())),
            ],
        ),
        scene(
            "smtp",
            |listen, _| smtp::server(listen),
            vec![
                script("a conversation", |peer| {
                    peer.hear_until("\r\n")
                        .send("HELO a\r\n")
                        .hear_until("\r\n")
                        .send("NOOP\r\n")
                        .hear_until("\r\n")
                        .send("QUIT\r\n")
                        .hear_end();
                }),
                script("only listens", |peer| done(peer.hear_until("\r\n"))),
            ],
        ),
        scene(
            "ssh",
            sshd,
            vec![
                script("banners", |peer| {
                    done(peer.hear_until("\r\n").send("SSH-2.0-test\r\n").hear("\0\0").note("done"))
                }),
                script("a wrong banner", |peer| done(peer.hear_until("\r\n").send("hello\r\n").hear_end())),
                program("key scan", |server| {
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
                script("CONNECT and PING", |peer| {
                    peer.send(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03abc")
                        .hear(b"\x20\x02\0\0")
                        .send(b"\xc0\0")
                        .hear(b"\xd0\0")
                        .send(b"\xe0\0")
                        .hear_end();
                }),
                script("a protocol that it does not know", |peer| {
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

macro_rules! cases {
    ($($case:literal),+ $(,)?) => {
        vec![$(Row { name: $case, client: Client::Program(|server| grpc::client(&server.ip().to_string(), server.port(), $case)), shows: &[] }),+]
    };
}

#[test]
fn grpc_and_websockets() {
    compare(vec![
        Scene {
            name: "grpc-go",
            server: Server::Program(|listen, _| grpc::server(listen.port())),
            http: true,
            rows: cases![
                "empty_unary",
                "large_unary",
                "client_streaming",
                "server_streaming",
                "ping_pong",
                "empty_stream",
                "timeout_on_sleeping_server",
                "cancel_after_first_response",
                "status_code_and_message",
                "special_status_message",
                "custom_metadata",
                "unimplemented_method",
                "unimplemented_service"
            ],
        },
        Scene {
            name: "gorilla/websocket",
            server: Server::Program(|listen, _| websocket::server(listen)),
            http: true,
            rows: vec![
                program("chat", |server| websocket::client(&format!("ws://{server}/chat"), Duration::from_millis(300))),
                program("refused", |server| {
                    websocket::client(&format!("ws://{server}/refused"), Duration::from_millis(10))
                }),
            ],
        },
    ]);
}
