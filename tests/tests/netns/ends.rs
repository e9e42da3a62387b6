//! Clients that end their side early, servers that end theirs first, and words that could become HTTP: as without the mesh.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream as TcpIo;

const DB: &str = "10.96.0.21";

/// Speaks at once, then says how many bytes came to the client's end.
const GREETS: u16 = 5000;
/// Answers as soon as there is a word of four bytes, as ZooKeeper does, and closes.
const WORDS: u16 = 5001;
/// Says how many bytes came to the client's end, and nothing before.
const COUNTS: u16 = 5002;
/// Ends its side at once, and goes on reading.
const ENDS: u16 = 5003;
/// Resets the connection at once.
const RESETS: u16 = 5004;

/// What the servers that say nothing have read, one entry for each connection.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

fn apps(at: &Namespace, heard: &Heard) -> [App; 5] {
    let counts = |mut io: TcpIo, greeting: &'static [u8]| async move {
        let _ = io.write_all(greeting).await;
        let mut all = Vec::new();
        let _ = io.read_to_end(&mut all).await;
        let _ = io.write_all(format!("{} bytes\r\n", all.len()).as_bytes()).await;
    };
    let words = |mut io: TcpIo| async move {
        let mut word = [0; 4];
        if io.read_exact(&mut word).await.is_ok() {
            let _ = io.write_all(b"imok").await;
        }
    };
    let heard = heard.clone();
    let ends = move |mut io: TcpIo| {
        let heard = heard.clone();
        async move {
            let _ = io.shutdown().await;
            let mut all = Vec::new();
            let _ = io.read_to_end(&mut all).await;
            heard.lock().unwrap().push(all);
        }
    };
    let resets = |io: TcpIo| async move { drop(io.set_zero_linger()) };
    [
        App::tcp(at, GREETS, move |io| Box::pin(counts(io, b"220 ready\r\n"))),
        App::tcp(at, COUNTS, move |io| Box::pin(counts(io, b""))),
        App::tcp(at, WORDS, move |io| Box::pin(words(io))),
        App::tcp(at, ENDS, move |io| Box::pin(ends(io))),
        App::tcp(at, RESETS, move |io| Box::pin(resets(io))),
    ]
}

struct World {
    _mesh: Mesh,
    db: Pod,
    bare: Namespace,
    client: Pod,
    outside: Namespace,
    heard: Heard,
    _apps: [[App; 5]; 2],
}

impl World {
    fn new() -> Option<Self> {
        let mut mesh = Mesh::start(enter()?, &yaml::service("db", DB, GREETS, GREETS));
        let (db, client) = (mesh.pod("db-1", "db"), mesh.pod("client-1", "client"));
        let (bare, outside) = (mesh.bare("bare"), mesh.bare("outside"));
        let heard = Heard::default();
        let apps = [apps(&db, &heard), apps(&bare, &heard)];
        Some(Self { _mesh: mesh, db, bare, client, outside, heard, _apps: apps })
    }

    /// Has `act` do with a connection to `port` what it does, without the mesh, with it, and with either side meshed.
    fn each_way(&self, port: u16, act: impl Fn(TcpStream, &str) + Send + Sync) {
        let act = |address: Ipv4Addr, way: &str| {
            let stream = TcpStream::connect((address, port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            act(stream, way);
        };
        self.outside.run(|| act(self.bare.v4(), "without the mesh")).unwrap();
        self.client.run_in(|| act(self.db.ip(), "both meshed"));
        self.client.run_in(|| act(self.bare.v4(), "client meshed"));
        self.outside.run(|| act(self.db.ip(), "server meshed")).unwrap();
        if port == GREETS {
            self.client.run_in(|| act(DB.parse().unwrap(), "to a Service"));
        }
    }
}

fn read(mut stream: &TcpStream) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn a_client_that_ends_its_side_at_once_hears_what_the_server_says() {
    let Some(world) = World::new() else { return };
    for late in [0, 50] {
        world.each_way(GREETS, |stream, way| {
            std::thread::sleep(Duration::from_millis(late));
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read(&stream), "220 ready\r\n0 bytes\r\n", "{way}, {late} ms");
        });
        world.each_way(COUNTS, |stream, way| {
            std::thread::sleep(Duration::from_millis(late));
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read(&stream), "0 bytes\r\n", "{way}, {late} ms");
        });
    }
    wait::until_true("each is logged at both ends", || {
        [&world.client, &world.db].iter().all(|pod| pod.log().matches("outrigger.sent_bytes").count() >= 8)
    });
}

#[test]
fn what_a_client_said_before_it_ended_its_side_arrives_whatever_it_could_have_become() {
    let Some(world) = World::new() else { return };
    for said in [&b"G"[..], b"GET", b"GET /a", b"PRI * HTTP/2.0\r\n\r\n", b"\x16", b"\r\n", b"*1\r\n", b"mntr\n"] {
        for (port, greeting) in [(GREETS, "220 ready\r\n"), (COUNTS, "")] {
            world.each_way(port, |mut stream, way| {
                stream.write_all(said).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let expected = format!("{greeting}{} bytes\r\n", said.len());
                assert_eq!(read(&stream), expected, "{way}: {}", said.escape_ascii());
            });
        }
    }
}

#[test]
fn a_word_without_an_end_is_answered_and_nobody_waits_for_the_rest() {
    let Some(world) = World::new() else { return };
    for word in [&b"mntr"[..], b"ruok", b"GET ", b"PRI ", b"SSH-2.0-x", b"\r\nGE", b"GET /a", b"\x16xyz"] {
        world.each_way(WORDS, |mut stream, way| {
            let start = Instant::now();
            stream.write_all(word).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"imok");
            // A wait for the rest of a request line would be one of ten seconds.
            assert!(start.elapsed() < Duration::from_secs(5), "{way}, {}: {:?}", word.escape_ascii(), start.elapsed());
        });
    }
}

#[test]
fn a_server_that_ends_its_side_first_hears_what_the_client_says() {
    let Some(world) = World::new() else { return };
    let said = [&b"first"[..], b"", b"and then more"];
    for said in said {
        world.each_way(ENDS, |mut stream, way| {
            assert_eq!(read(&stream), "", "{way}");
            stream.write_all(said).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            wait::until(&format!("{way}: the server hears it all"), || {
                world.heard.lock().unwrap().pop().map(|heard| assert_eq!(heard, said, "{way}"))
            });
        });
    }
}

#[test]
fn a_server_that_resets_is_seen_to() {
    let Some(world) = World::new() else { return };
    world.each_way(RESETS, |mut stream, way| {
        let end = stream.read(&mut [0; 10]);
        assert!(end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{way}: {end:?}");
    });
}
