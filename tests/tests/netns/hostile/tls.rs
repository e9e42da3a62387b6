//! TLS records by hand, to inbound ports in both modes, from somebody with a certificate of the mesh and from somebody without: what is odd and
//! allowed works, what is not ends its connection, costs little memory, and a neighbour's requests go on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_identity::Alpn;
use outrigger_sandbox::Namespace;
use outrigger_tests::attack::desync::Connection as _;
use outrigger_tests::attack::intruder::{Intruder, Tls};
use outrigger_tests::{App, Mesh, Pod, Reply, enter, wait, yaml};
use rustls::ClientConnection;
use tokio::io::AsyncReadExt as _;

use super::resident;
use outrigger_tests::attack::neighbour::beside_a_neighbour;

const STRICT: &str = "  annotations:\n    config.outrigger.io/inbound: strict\n";
const REQUEST: &[u8] = b"GET /tls HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const CHANGE_CIPHER_SPEC: u8 = 20;

/// Only a broken path takes as long.
const PATIENCE: Duration = Duration::from_secs(20);
/// What one connection may cost, KiB.
const MOST_KIB: u64 = 8 * 1024;

struct Place {
    strict: Pod,
    permissive: Pod,
    outside: Namespace,
    intruder: Intruder,
    mesh: Mesh,
    _apps: [App; 2],
}

impl Place {
    fn new() -> Option<Self> {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("web", super::WEB, 80, 8080));
        let strict = mesh.pod_with("strict", "web", STRICT, &[]);
        let permissive = mesh.pod("permissive", "web");
        let outside = mesh.bare("outside");
        let intruder = Intruder::of(&mesh, Alpn::Http1);
        let apps = [&strict, &permissive].map(|pod| App::http(pod, 8080, |seen| Reply::ok(format!("{} ", seen.path))));
        Some(Self { strict, permissive, outside, intruder, mesh, _apps: apps })
    }

    fn addresses(&self) -> [String; 2] {
        [&self.strict, &self.permissive].map(|pod| format!("{}:8080", pod.ip()))
    }
}

/// The ClientHello, as its session would write it.
fn hello(session: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    session.write_tls(&mut records).unwrap();
    records
}

fn dial(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, payload].concat()
}

/// Goes on after a ClientHello that was sent in another way; returns the app's answer.
fn finish(session: ClientConnection, stream: TcpStream) -> std::io::Result<String> {
    let mut tls = Tls(rustls::StreamOwned::new(session, stream));
    tls.write_all(REQUEST)?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_client_hello_in_the_smallest_pieces_is_understood() {
    let Some(place) = Place::new() else { return };
    for address in place.addresses() {
        let segments = || {
            let (mut session, mut stream) = (place.intruder.session(), dial(&address));
            for byte in hello(&mut session) {
                stream.write_all(&[byte]).unwrap();
            }
            finish(session, stream)
        };
        // Each with a header of its own: what crashed others (RUSTSEC-2024-0399).
        let records = || {
            let (mut session, mut stream) = (place.intruder.session(), dial(&address));
            let pieces =
                hello(&mut session)[5..].iter().flat_map(|byte| record(HANDSHAKE, &[*byte])).collect::<Vec<_>>();
            stream.write_all(&pieces).unwrap();
            finish(session, stream)
        };
        let both = || {
            let (mut session, mut stream) = (place.intruder.session(), dial(&address));
            for byte in hello(&mut session)[5..].iter().flat_map(|byte| record(HANDSHAKE, &[*byte])) {
                stream.write_all(&[byte]).unwrap();
            }
            finish(session, stream)
        };
        let answers = place.outside.run(|| [segments(), records(), both()]).unwrap();
        for answer in answers {
            assert!(answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")), "{address}: {answer:?}");
        }
    }
}

/// What is written instead of a handshake, or in the middle of it: a name, what comes once, what comes again and again, how often.
fn floods(hello: &[u8]) -> Vec<(&'static str, Vec<u8>, Vec<u8>, usize)> {
    let more = |kind, payload: &[u8]| [hello, &record(kind, payload)].concat();
    let begun = [1, 0xff, 0xff, 0xff];
    vec![
        ("warnings before a ClientHello", vec![], record(ALERT, &[1, 90]), 100_000),
        ("ends before a ClientHello", vec![], record(ALERT, &[1, 0]), 100_000),
        ("warnings after it", hello.to_vec(), record(ALERT, &[1, 90]), 100_000),
        ("changes of the cipher before it", vec![], record(CHANGE_CIPHER_SPEC, &[1]), 100_000),
        ("changes of the cipher after it", hello.to_vec(), record(CHANGE_CIPHER_SPEC, &[1]), 100_000),
        ("handshake records without content", vec![], record(HANDSHAKE, &[]), 100_000),
        ("data records without content", hello.to_vec(), record(DATA, &[]), 100_000),
        ("data in the clear", hello.to_vec(), record(DATA, REQUEST), 10_000),
        ("a ClientHello of 16 MB", record(HANDSHAKE, &begun), record(HANDSHAKE, &[0; 16_000]), 1200),
        ("a ClientHello again and again", hello.to_vec(), hello.to_vec(), 10_000),
        ("a ServerHello", hello.to_vec(), more(HANDSHAKE, &[2, 0, 0, 2, 3, 3]), 1000),
        ("a record longer than any", vec![DATA, 3, 3, 0xff, 0xff], vec![0; 16_384], 1000),
        ("a handshake record longer than any", vec![HANDSHAKE, 3, 3, 0xff, 0xff, 1], vec![0; 16_384], 1000),
    ]
}

#[test]
fn records_that_belong_nowhere_end_their_connection() {
    let Some(mut place) = Place::new() else { return };
    let hello = hello(&mut place.intruder.session());
    let service = format!("{}:80", super::WEB);
    let client = place.mesh.pod("client-1", "client");
    for (name, first, again, times) in floods(&hello) {
        for address in place.addresses() {
            let sidecars = [place.strict.sidecar().id(), place.permissive.sidecar().id()];
            let before = sidecars.map(resident);
            let ended = || place.outside.run(|| is_ended(&address, &first, &again, times)).unwrap();
            let ended = beside_a_neighbour(&client, &service, ended);
            assert!(ended, "{name}, {address}: the connection goes on");
            for (before, after) in before.into_iter().zip(sidecars.map(resident)) {
                assert!(after < before + MOST_KIB, "{name}, {address}: {before} KiB, then {after} KiB");
            }
        }
    }
}

/// Says whether the connection was ended; the client ends its own side once everything is written.
fn is_ended(address: &str, first: &[u8], again: &[u8], times: usize) -> bool {
    let mut stream = dial(address);
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 16_384];
        loop {
            match answers.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    });
    let many = again.repeat((64 * 1024 / again.len()).max(1));
    let mut left = times * again.len();
    // Fails where it was ended already.
    let mut open = stream.write_all(first).is_ok();
    while open && left > 0 {
        let now = &many[..many.len().min(left)];
        open = stream.write_all(now).is_ok();
        left -= now.len();
    }
    // An app behind a permissive port hears what is no mesh TLS, and waits for more of it.
    let _ = stream.shutdown(Shutdown::Write);
    reader.join().unwrap()
}

#[test]
fn old_versions_of_tls_are_refused_by_a_strict_port() {
    let Some(place) = Place::new() else { return };
    let [strict, _] = place.addresses();
    let shake = |version: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(["s_client", "-connect", &strict, "-alpn", "outrigger/http1", version, "-brief"]);
        // What Debian turns off by itself is asked for all the same.
        command.args(["-cipher", "ALL:@SECLEVEL=0"]).stdin(std::process::Stdio::null());
        let output = place.outside.run(|| command.output()).unwrap().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for version in ["-tls1", "-tls1_1", "-tls1_2"] {
        let told = shake(version);
        assert!(!told.contains("CONNECTION ESTABLISHED"), "{version}: {told}");
    }
    // The method works: without a certificate this one gets so far, and no further.
    assert!(shake("-tls1_3").contains("TLSv1.3"), "{}", shake("-tls1_3"));
}

#[test]
fn nothing_is_accepted_before_the_handshake_is_done() {
    let Some(place) = Place::new() else { return };
    for address in place.addresses() {
        let early = || {
            // The second connection would send its request at once, if the first had left it a ticket for that.
            let mut tls = place.intruder.connect(&address).unwrap();
            tls.write_all(REQUEST).unwrap();
            tls.read_to_end(&mut Vec::new()).unwrap();
            let mut second = place.intruder.session();
            let can = second.early_data().is_some();
            let kind = place.intruder.connect(&address).unwrap().0.conn.handshake_kind();
            (can, kind)
        };
        let (can, kind) = place.outside.run(early).unwrap();
        assert!(!can, "{address}: early data is offered");
        assert_eq!(kind, Some(rustls::HandshakeKind::Full), "{address}: each connection proves who it is");
    }
}

#[test]
fn new_keys_again_and_again_cost_nothing() {
    let Some(mut place) = Place::new() else { return };
    let service = format!("{}:80", super::WEB);
    let client = place.mesh.pod("client-1", "client");
    for address in place.addresses() {
        let sidecars = [place.strict.sidecar().id(), place.permissive.sidecar().id()];
        let before = sidecars.map(resident);
        let flood = || {
            let mut tls = place.intruder.connect(&address).unwrap();
            // Each asks for new keys of the other side as well; nobody reads them.
            let asked =
                (0..20_000).take_while(|_| tls.0.conn.refresh_traffic_keys().is_ok() && tls.flush().is_ok()).count();
            tls.finish();
            let mut buffer = [0; 16_384];
            let ended = loop {
                match tls.0.sock.read(&mut buffer) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(error) => break !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                }
            };
            (asked, ended)
        };
        let (asked, ended) = beside_a_neighbour(&client, &service, || place.outside.run(flood).unwrap());
        assert!(ended, "{address}: the connection outlived its client after {asked} updates");
        for (before, after) in before.into_iter().zip(sidecars.map(resident)) {
            assert!(after < before + MOST_KIB, "{address}: {before} KiB, then {after} KiB");
        }
        let answer = place.outside.run(|| finish(place.intruder.session(), dial(&address))).unwrap();
        assert!(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")), "{address}: the next is served");
    }
}

#[test]
fn bytes_that_are_cut_off_are_not_a_whole_message() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", super::WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let ends = Arc::<Mutex<Vec<(Vec<u8>, bool)>>>::default();
    let record = ends.clone();
    let _app = App::tcp(&web, 8080, move |mut stream| {
        let record = record.clone();
        Box::pin(async move {
            let mut all = Vec::new();
            let clean = stream.read_to_end(&mut all).await.is_ok();
            record.lock().unwrap().push((all, clean));
        })
    });
    let outside = mesh.bare("outside");
    let intruder = Intruder::of(&mesh, Alpn::Opaque);
    let address = format!("{}:8080", web.ip());
    let end = |cut: bool| {
        let send = || {
            let mut tls = intruder.connect(&address).unwrap();
            tls.write_all(b"pay 100").unwrap();
            tls.flush().unwrap();
            if cut {
                tls.0.sock.shutdown(Shutdown::Write).unwrap();
            } else {
                tls.finish();
            }
            // Until the other side has ended as well.
            let _ = tls.0.sock.read_to_end(&mut Vec::new());
        };
        outside.run(send).unwrap();
        wait::until("the app's connection ends", || ends.lock().unwrap().pop())
    };

    assert_eq!(end(false), (b"pay 100".to_vec(), true));
    let (_, clean) = end(true);
    assert!(!clean, "an end without close_notify is none (RFC 8446 section 6.1)");
}
