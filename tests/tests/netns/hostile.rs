//! Clients that do their worst: bounded memory, a clear answer, and the sidecar lives.

mod answers;
mod bombs;
mod broken_bodies;
mod desync;
mod floods;
mod late;
mod origins;
mod overload;
mod probes;
mod slow;
mod smuggling;
mod states;
mod strict;
mod tls;
mod websocket;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use outrigger_tests::{App, Mesh, Pod, Reply, enter, wait, yaml};

const WEB: &str = "10.96.0.10";

fn web() -> String {
    yaml::service("web", WEB, 80, 8080)
}

fn dial(pod: &Pod, address: &str) -> TcpStream {
    let stream = pod.run_in(|| TcpStream::connect(address)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends bytes, ends the sending side and returns all that comes back.
fn say(pod: &Pod, bytes: &[u8]) -> String {
    let mut stream = dial(pod, &format!("{WEB}:80"));
    // The other side may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Resident memory of a pod's sidecar, KiB.
pub(crate) fn rss(pod: &mut Pod) -> u64 {
    resident(pod.sidecar().id())
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn malformed_requests_get_400_or_nothing_and_never_reach_the_app() {
    let Some(sandbox) = enter() else { return };
    let yaml = yaml::service_with("web", WEB, 80, 8080, "      appProtocol: http\n");
    let mut mesh = Mesh::start(sandbox, &yaml);
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");

    for bytes in [
        &b"complete garbage\r\n\r\n"[..],
        b"\x00\x01\x02\x03",
        b"GET / HTTP/1.1\r\nhost: a\r\nbroken header\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let answer = say(&client, bytes);
        let told = answer.is_empty() || answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 501");
        assert!(told, "{}: {answer}", bytes.escape_ascii());
    }
    assert_eq!(app.count(), 0, "{:?}", app.seen());
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200, "the sidecar lives");
}

#[test]
fn a_megabyte_of_headers_is_refused_and_costs_no_memory() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    let mut client = mesh.pod("client-1", "client");
    let before = rss(&mut client);

    let mut head = b"GET / HTTP/1.1\r\nhost: a\r\nx-large: ".to_vec();
    head.resize(1 << 20, b'x');
    for _ in 0..20 {
        let answer = say(&client, &head);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    assert_eq!(app.count(), 0);
    let after = rss(&mut client);
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200, "the sidecar lives");
}

#[test]
fn empty_lines_without_end_are_refused_and_cost_no_memory() {
    let Some(sandbox) = enter() else { return };
    let yaml = yaml::service_with("web", WEB, 80, 8080, "      appProtocol: http\n");
    let mut mesh = Mesh::start(sandbox, &yaml);
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let mut client = mesh.pod("client-1", "client");
    let before = rss(&mut client);

    let mut stream = dial(&client, &format!("{WEB}:80"));
    let lines = b"\r\n".repeat(1 << 20);
    // So much does not fit into the buffers on the way.
    let taken = (0..16).take_while(|_| stream.write_all(&lines).is_ok()).count();

    let after = rss(&mut client);
    assert!(taken < 16 && after < before + 8 * 1024, "{before} KiB, then {after} KiB, {taken} times 2 MiB taken");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200, "the sidecar lives");
}

#[test]
fn half_a_header_keeps_nobody_else_waiting() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");

    let halves: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = dial(&client, &format!("{WEB}:80"));
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-half: ").unwrap();
            stream
        })
        .collect();

    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);
    drop(halves);
}

#[test]
fn eight_thousand_idle_connections_take_8_kib_each_and_serve_again() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let mut client = mesh.pod("client-1", "client");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);
    let before = rss(&mut client);

    // Each has had its request and lies idle, as keep-alive connections do.
    let mut idle: Vec<_> = client.run_in(|| {
        let open = |_| {
            let mut connection = outrigger_tests::Client::connect(&format!("{WEB}:80")).unwrap();
            assert_eq!(connection.get("/").unwrap().status, 200);
            connection
        };
        (0..8000).map(open).collect()
    });
    eprintln!("{} KiB each at first", (rss(&mut client) - before) / 8000);
    wait::until_true("each idle connection takes at most 8 KiB", || {
        let each = (rss(&mut client) - before) / 8000;
        eprintln!("{each} KiB each");
        each <= 8
    });
    for connection in idle.iter_mut().step_by(100) {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
    drop(idle);
    wait::until_true("all are closed", || client.config()["inFlight"] == 0);
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200, "the sidecar lives");
}

#[test]
fn a_slow_reader_holds_back_the_sender_and_not_the_memory() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let mut web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |_| Reply::ok(vec![b'x'; 200_000_000]));
    let mut client = mesh.pod("client-1", "client");
    let (before_client, before_web) = (rss(&mut client), rss(&mut web));

    let mut stream = dial(&client, &format!("{WEB}:80"));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut first = [0; 4096];
    stream.read_exact(&mut first).unwrap();
    std::thread::sleep(Duration::from_secs(2));

    let (grown_client, grown_web) = (rss(&mut client) - before_client, rss(&mut web).saturating_sub(before_web));
    assert!(grown_client < 8 * 1024 && grown_web < 8 * 1024, "{grown_client} and {grown_web} KiB more");
    let mut rest = 0;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        rest += n;
    }
    assert!(rest + first.len() > 200_000_000, "{rest} bytes: the slow reader gets everything");
}
