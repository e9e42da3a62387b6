//! Protocols that are not HTTP, declared or not, and detection at its edges.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use outrigger_tests::{App, Mesh, Pod, enter, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const DB: &str = "10.96.0.20";

fn db() -> String {
    yaml::service("db", DB, 5000, 5000)
}

/// Speaks first, then echoes.
fn greeter(pod: &Pod) -> App {
    App::tcp(pod, 5000, |mut stream| {
        Box::pin(async move {
            if stream.write_all(b"220 ready\r\n").await.is_err() {
                return;
            }
            let mut buffer = [0; 4096];
            while let Ok(n) = stream.read(&mut buffer).await {
                if n == 0 || stream.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        })
    })
}

fn dial(pod: &Pod, address: &str) -> TcpStream {
    let stream = pod.run_in(|| TcpStream::connect(address)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn a_server_that_speaks_first_needs_no_declaration_and_no_wait() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &db());
    let pod = mesh.pod("db-1", "db");
    let _app = greeter(&pod);
    let client = mesh.pod("client-1", "client");

    // The best of several: a busy machine may delay one, a detection timeout delays all.
    let best = (0..10).map(|_| {
        let start = Instant::now();
        let mut stream = dial(&client, &format!("{DB}:5000"));
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).unwrap();
        let took = start.elapsed();
        assert_eq!(&greeting, b"220 ready\r\n");
        stream.write_all(b"EHLO x\r\n").unwrap();
        let mut echo = [0; 8];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"EHLO x\r\n");
        took
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(100), "{best:?}");
    assert!(client.metric("outrigger_outbound_tcp_connections_total", &["tls=\"mutual\""]) >= 10.0);
}

#[test]
fn a_client_that_speaks_first_and_no_http_is_carried_as_bytes() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &db());
    let pod = mesh.pod("db-1", "db");
    let _app = App::tcp(&pod, 5000, |mut stream| {
        Box::pin(async move {
            let mut all = Vec::new();
            // Reads to the client's end, then answers: both directions end on their own.
            let _ = stream.read_to_end(&mut all).await;
            all.reverse();
            let _ = stream.write_all(&all).await;
        })
    });
    let client = mesh.pod("client-1", "client");

    for sent in [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x00\x01\x02", b"GET key\r\n", &vec![7; 3_000_000]] {
        let mut stream = dial(&client, &format!("{DB}:5000"));
        let writer = stream.try_clone().unwrap();
        let bytes = sent.to_vec();
        let write = std::thread::spawn(move || {
            (&writer).write_all(&bytes).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        write.join().unwrap();
        answer.reverse();
        assert!(answer == sent, "{} of {} bytes", answer.len(), sent.len());
    }
}

#[test]
fn a_copied_connection_is_told_with_its_rule_its_peers_and_its_bytes() {
    let Some(sandbox) = enter() else { return };
    let rule = "    - {name: all, backendRefs: [{name: db, port: 5000}]}\n";
    let mut mesh = Mesh::start(sandbox, &(db() + &yaml::http_route("db", "db", rule).replace("HTTPRoute", "TCPRoute")));
    let pod = mesh.pod("db-1", "db");
    let _app = greeter(&pod);
    let client = mesh.pod("client-1", "client");

    let mut stream = dial(&client, &format!("{DB}:5000"));
    stream.write_all(b"EHLO\r\n").unwrap();
    stream.read_exact(&mut [0; 17]).unwrap();
    let outbound = [r#"route="TCPRoute/shop/db/all""#, r#"peer_service="db:5000""#, r#"tls="mutual""#];
    assert_eq!(client.metric("outrigger_outbound_tcp_open_connections", &outbound), 1.0);
    drop(stream);

    let line = |pod: &Pod| {
        outrigger_tests::wait::until("the connection is logged", || {
            let log = pod.log();
            let line = log.lines().find(|line| line.contains("outrigger.sent_bytes"))?;
            serde_json::from_str::<serde_json::Value>(line).ok()
        })
    };
    let (asked, served) = (line(&client), line(&pod));
    let identity = |account| format!("spiffe://mesh.local/ns/shop/sa/{account}");
    assert_eq!(asked["outrigger.route"], "TCPRoute/shop/db/all");
    assert_eq!(asked["outrigger.backend"], "shop/db:5000");
    for (line, peer, sent, received) in [(asked, "db", 6, 17), (served, "client", 17, 6)] {
        assert_eq!(line["outrigger.peer.identity"], identity(peer), "{line}");
        assert_eq!(line["outrigger.sent_bytes"], sent, "{line}");
        assert_eq!(line["outrigger.received_bytes"], received, "{line}");
    }
    let inbound = [r#"peer_service_account="client""#, r#"peer_namespace="shop""#];
    assert_eq!(pod.metric("outrigger_inbound_tcp_sent_bytes_total", &inbound), 17.0);
    assert_eq!(client.metric("outrigger_outbound_tcp_received_bytes_total", &outbound), 17.0);
    assert_eq!(client.metric("outrigger_outbound_tcp_open_connections", &outbound), 0.0);
}

#[test]
fn http_that_comes_byte_by_byte_or_late_is_still_http() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &db());
    let pod = mesh.pod("db-1", "db");
    let _app = App::echo(&pod, 5000, "db-1");
    let client = mesh.pod("client-1", "client");
    let request = b"GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    // Where HTTP has been spoken, it is waited for.
    assert_eq!(client.get(&format!("http://{DB}:5000/")).status, 200);

    for (late, pause) in [(0, 5), (300, 0), (300, 5)] {
        let mut stream = dial(&client, &format!("{DB}:5000"));
        std::thread::sleep(Duration::from_millis(late));
        for byte in request {
            stream.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(pause));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-app: db-1"), "{answer}");
    }
    // Counted as requests, not as connections of bytes.
    assert!(client.metric("http_client_request_duration_seconds_count", &[]) >= 4.0);
    // What was dialled for bytes, and not used, is no failure at the peer.
    outrigger_tests::wait::until("the connections for bytes have ended", || {
        (pod.metric("outrigger_inbound_tcp_open_connections", &[]) == 0.0).then_some(())
    });
    assert!(!pod.log().contains("E005"), "{}", pod.log());
}

#[test]
fn an_http2_preface_split_anywhere_is_http2() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &db());
    let pod = mesh.pod("db-1", "db");
    let _app = App::echo(&pod, 5000, "db-1");
    let client = mesh.pod("client-1", "client");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    for split in [1, 3, 10, 17, 23, 26] {
        let mut stream = dial(&client, &format!("{DB}:5000"));
        stream.write_all(&preface[..split]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&preface[split..]).unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(frame[3], 4, "the answer to a preface is SETTINGS (split at {split})");
    }
}

#[test]
fn the_apps_own_tls_passes_through_untouched() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &db());
    let pod = mesh.pod("db-1", "db");
    let key = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
    let (certificate, secret) = (pod.folder().join("cert.pem"), pod.folder().join("key.pem"));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&secret, key.signing_key.serialize_pem()).unwrap();
    let mut command = std::process::Command::new("openssl");
    command.args(["s_server", "-accept", "5000", "-www", "-cert"]).arg(&certificate).arg("-key").arg(&secret);
    let server = pod.start_program("openssl", &mut command);
    outrigger_tests::wait::until_true("openssl listens", || server.output().contains("ACCEPT"));
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");

    let arguments = |address: &str| {
        let resolve = format!("db:5000:{address}");
        let ca = certificate.display().to_string();
        ["--silent", "--show-error", "--resolve", &resolve, "--cacert", &ca, "https://db:5000/"].map(str::to_owned)
    };
    let meshed = client.output(std::process::Command::new("curl").args(arguments(DB)));
    let unmeshed = outside.run(|| std::process::Command::new("curl").args(arguments(&pod.ip().to_string())).output());

    for output in [meshed, unmeshed.unwrap().unwrap()] {
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(page.contains("s_server"), "{page}{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(client.metric("outrigger_outbound_tcp_connections_total", &["tls=\"mutual\""]) >= 1.0);
}

#[test]
fn a_declared_protocol_is_taken_at_its_word() {
    let Some(sandbox) = enter() else { return };
    let yaml = yaml::service_with("db", DB, 5000, 5000, "      appProtocol: tcp\n");
    let mut mesh = Mesh::start(sandbox, &yaml);
    let pod = mesh.pod("db-1", "db");
    let _app = App::echo(&pod, 5000, "db-1");
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{DB}:5000/"));

    assert_eq!(response.status, 200);
    assert_eq!(client.metric("http_client_request_duration_seconds_count", &[]), 0.0);
    assert!(client.metric("outrigger_outbound_tcp_connections_total", &[]) >= 1.0);
}

#[test]
fn an_unknown_destination_passes_through_and_is_refused_where_egress_is_denied() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, "");
    let outside = mesh.bare("outside");
    let _app = App::echo(&outside, 9090, "outside");
    let client = mesh.pod("client-1", "client");
    let url = format!("http://{}:9090/", outside.v4());
    assert_eq!(client.get(&url).header("x-app"), "outside");
    drop(client);
    drop(mesh);
}

#[test]
fn egress_can_be_denied() {
    let Some(sandbox) = enter() else { return };
    let options = outrigger_tests::Options {
        control_plane: vec!["--egress".to_owned(), "deny".to_owned()],
        ..Default::default()
    };
    let mut mesh = Mesh::start_with(sandbox, "", options);
    let outside = mesh.bare("outside");
    let app = App::echo(&outside, 9090, "outside");
    let client = mesh.pod("client-1", "client");

    let url = format!("http://{}:9090/", outside.v4());
    let answer = client.run_in(|| outrigger_tests::client::try_get(&url));

    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(app.count(), 0);
    outrigger_tests::wait::until_true("the refusal is logged", || client.log().contains("E012"));
}
