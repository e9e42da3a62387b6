//! The end of a pod, as Kubernetes does it: `preStop` (`leave`), the application's end, then SIGTERM for the sidecar. Peers are told at once, and the
//! application keeps its own connections until it has ended.

use std::io::Read as _;
use std::time::{Duration, Instant};

use outrigger_tests::{App, Client, Http2, Mesh, enter, wait, yaml};

const WEB: &str = "10.96.0.10";
const OTHER: &str = "10.96.0.11";

fn services() -> String {
    format!("{}{}", yaml::service("web", WEB, 80, 8080), yaml::service("other", OTHER, 80, 8080))
}

#[test]
fn who_leaves_tells_its_peers_and_goes_on_with_its_own_connections() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let other = mesh.pod("other-1", "other");
    let _other = App::echo(&other, 8080, "other-1");
    let mut web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    let outside = mesh.bare("outside");
    let (to_other, to_web) = (format!("{OTHER}:80"), format!("{}:8080", web.ip()));
    let (mut own, own2) = (web.connect(&to_other), Http2::connect(&web, &to_other).unwrap());
    let mut peer = outside.run(|| Client::connect(&to_web)).unwrap().unwrap();
    let peer2 = Http2::connect(&outside, &to_web).unwrap();
    for client in [&mut own, &mut peer] {
        let answer = client.get("/").unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, ""));
    }
    for client in [&own2, &peer2] {
        assert_eq!(client.get("/").unwrap().0, 200);
        assert!(!client.is_closed());
    }

    web.leave();

    wait::until_true("a peer is told in HTTP/2", || peer2.is_closed());
    assert_eq!(peer.get("/").unwrap().header("connection"), "close", "a peer is told in HTTP/1");
    for _ in 0..20 {
        let answer = own.get("/").unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, ""));
        assert_eq!(own2.get("/").unwrap().0, 200);
        assert!(!own2.is_closed(), "the application's own connection is told to leave");
    }
    drop((app, own, own2));
    web.sidecar().terminate();
    assert!(web.sidecar().ended().success());
}

#[test]
fn an_upgraded_connection_and_one_of_bytes_are_in_flight_until_they_end() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    for what in ["upgraded", "bytes"] {
        let mut web = mesh.pod(&format!("web-{what}"), "web");
        let _app = App::tcp(&web, 8080, move |mut stream| {
            Box::pin(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut buffer = [0; 1024];
                let mut first = true;
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let agreed: &[u8] =
                        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
                    let answer =
                        if std::mem::take(&mut first) && what == "upgraded" { agreed } else { &buffer[..read] };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            })
        });
        let client = mesh.pod(&format!("client-{what}"), "client");
        let mut connection = client.connect(&format!("{}:8080", web.ip()));
        if what == "upgraded" {
            connection.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n").unwrap();
            assert_eq!(connection.read(false).unwrap().status, 101);
        }
        let mut echo = |text: &[u8]| {
            connection.write(text).unwrap();
            let mut back = vec![0; text.len()];
            connection.raw().read_exact(&mut back).unwrap();
            assert_eq!(back, text, "{what}");
        };
        echo(b"\x01before");

        web.leave();
        web.sidecar().terminate();

        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            echo(b"\x01still there");
            assert!(web.sidecar().alive(), "{what}: is in flight");
        }
        let ended = Instant::now();
        drop(connection);
        assert!(web.sidecar().ended().success());
        assert!(ended.elapsed() < Duration::from_secs(20), "{what}: waits for what has ended");
    }
}
