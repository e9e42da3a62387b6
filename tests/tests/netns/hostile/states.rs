//! What a connection costs in each state in which a peer can keep it before there is a request: memory, and for how long.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use outrigger_identity::Alpn;
use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, enter, wait, yaml};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{WEB, rss};

/// A state, the bytes that lead there, and what one connection may cost in it, KiB. The rest of the mesh is in it as well: what the
/// kernel has of sockets is not.
struct State {
    name: &'static str,
    bytes: Vec<u8>,
    most: u64,
}

fn states() -> Vec<State> {
    let hello = hello();
    let state = |name, bytes: &[u8], most| State { name, bytes: bytes.to_vec(), most };
    vec![
        state("accepted, silent (dialled on)", b"", 12),
        state("half a ClientHello", &hello[..hello.len() / 2], 12),
        state("ClientHello of a meshed peer, then silence", &hello, 40),
        state("half a request line", b"GET / HT", 12),
        state("half a preface", b"PRI * HTTP/2.0\r\n\r\nSM", 12),
        state("bytes for the app", b"\x01\x02\x03", 16),
        state("half a head", b"GET / HTTP/1.1\r\nhost: a\r\n", 20),
        state("HTTP/2 without a request", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 24),
    ]
}

#[test]
fn a_connection_without_a_request_costs_little_in_every_state() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let mut web = mesh.pod("web-1", "web");
    let _app = App::tcp(&web, 8080, |io| {
        // It takes what comes, says nothing, and leaves with the client.
        Box::pin(async move { drop(tokio::io::copy(&mut { io }, &mut tokio::io::sink()).await) })
    });
    let stranger = mesh.bare("stranger");
    let address = format!("{}:8080", web.ip());
    for State { name, bytes, most } in states() {
        // A fresh process: what another state has left free does not count.
        web.restart_sidecar_under(":", &[]);
        drop(open(&stranger, &address, 20, &bytes));
        wait::until_true("the first are gone", || opened(&web) == 0.0);
        let before = rss(&mut web);
        let held = open(&stranger, &address, COUNT, &bytes);
        wait::until_true("all are there", || opened(&web) >= COUNT as f64);

        wait::until_true(&format!("{name}: at most {most} KiB each"), || {
            let grown = rss(&mut web).saturating_sub(before);
            let each = grown as f64 / COUNT as f64;
            eprintln!("{name}: {each:.1} KiB");
            grown <= most * COUNT as u64
        });
        drop(held);
    }
}

fn open(from: &Namespace, address: &str, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    from.run(|| (0..count).map(one).collect()).unwrap()
}

fn opened(pod: &Pod) -> f64 {
    pod.metric("outrigger_inbound_open_connections", &[])
}

/// The first message of a meshed peer.
fn hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = vec![Alpn::Http1.id().to_vec()];
    let mut peer = ClientConnection::new(Arc::new(config), "example.org".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    peer.write_tls(&mut bytes).unwrap();
    bytes
}

const COUNT: usize = 1000;
