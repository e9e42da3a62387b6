//! The end of a pod, as Kubernetes does it: `preStop` (`leave`), the application's end, then SIGTERM for the sidecar. Peers are told at once, and the
//! application keeps its own connections until it has ended.

use std::io::Read as _;
use std::time::{Duration, Instant};

use outrigger_tests::{App, Client, Http2, Mesh, Pod, Reply, enter, wait, yaml};

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

/// How an endpoint stands with a client's sidecar.
fn leaves(client: &Pod, workload: &str) -> bool {
    let config = client.config();
    let endpoints = config["backends"][0]["endpoints"].as_array().cloned().unwrap_or_default();
    let named = format!("shop/{workload}");
    endpoints.iter().any(|endpoint| endpoint["workload"] == *named && endpoint["leaving"] == true)
}

#[test]
fn a_pod_that_leaves_is_avoided_before_the_control_plane_says_so() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let pods = ["web-1", "web-2"].map(|name| mesh.pod(name, "web"));
    let apps = [App::echo(&pods[0], 8080, "web-1"), App::echo(&pods[1], 8080, "web-2")];
    let clients =
        ["http1", "http2"].map(|wire| mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire]));
    let answered = |client: &Pod, connection: &mut Client| {
        let answer = connection.send("POST", "/", &[], b"not idempotent").unwrap();
        assert_eq!((answer.status, answer.header("connection"), answer.header("outrigger-leaving")), (200, "", ""));
        assert!(client.metric("outrigger_outbound_ejections_total", &[]) < 1.0);
        answer.header("x-app").to_owned()
    };
    let mut connections = clients.iter().map(|client| client.connect(&format!("{WEB}:80"))).collect::<Vec<_>>();
    for (client, connection) in clients.iter().zip(&mut connections) {
        wait::until_true("the first serves", || answered(client, connection) == "web-1");
        wait::until_true("the second serves", || answered(client, connection) == "web-2");
    }

    pods[0].leave();

    // Nobody asks: it is told on connections that lie idle.
    for (client, connection) in clients.iter().zip(&mut connections) {
        wait::until_true("the sidecar has been told", || leaves(client, "web-1"));
        assert!(!leaves(client, "web-2"));
        for _ in 0..50 {
            assert_eq!(answered(client, connection), "web-2");
        }
    }
    // When all leave, all are used, and tell that they leave with each answer.
    pods[1].leave();
    for (client, connection) in clients.iter().zip(&mut connections) {
        wait::until_true("the sidecar has been told", || leaves(client, "web-2"));
        for _ in 0..20 {
            answered(client, connection);
        }
        assert!(leaves(client, "web-1") && leaves(client, "web-2"));
    }
    drop(apps);
}

#[test]
fn requests_that_cross_the_word_of_a_pod_that_leaves_are_answered_by_another() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let stays = mesh.pod("web-0", "web");
    let _stays = App::echo(&stays, 8080, "web-0");
    let client = mesh.pod_with("client-1", "client", "", &["--wire", "http1"]);
    for n in 1..=5 {
        let goes = mesh.pod(&format!("web-{n}"), "web");
        let app = App::echo(&goes, 8080, "goes");
        wait::until_true("it serves", || client.get(&format!("http://{WEB}/")).header("x-app") == "goes");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let posting: Vec<_> = (0..8)
                .map(|_| {
                    let mut connection = client.connect(&format!("{WEB}:80"));
                    let stop = &stop;
                    scope.spawn(move || {
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            let answer = connection.send("POST", "/", &[], b"not idempotent").unwrap();
                            assert_eq!(answer.status, 200, "{}", answer.text());
                        }
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(200));
            goes.leave();
            wait::until_true("the sidecar has been told", || leaves(&client, &format!("web-{n}")));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            posting.into_iter().for_each(|one| one.join().unwrap());
        });
        mesh.remove(&format!("web-{n}.yaml"));
        drop((goes, app));
    }
}

#[test]
fn connections_that_come_to_their_age_are_replaced_and_cost_nothing() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let web = mesh.pod_with("web-1", "web", "", &["--max-connection-age", "1s"]);
    let app = App::http(&web, 8080, |seen| match seen.path.as_str() {
        "/slow" => Reply::ok("whole").after(Duration::from_secs(3)),
        _ => Reply::ok("quick"),
    });
    let (outside, address) = (mesh.bare("outside"), format!("{}:8080", web.ip()));
    let young = |client: &mut Client| client.get("/").unwrap().header("connection") != "close";
    // On a busy machine one may come to its age before its first request.
    let mut old = wait::until("a connection is young", || {
        let mut client = outside.run(|| Client::connect(&address)).unwrap().unwrap();
        young(&mut client).then_some(client)
    });
    let (old2, answer) = wait::until("a request is in flight", || {
        let client = Http2::connect(&outside, &address).unwrap();
        let answer = client.get("/slow").ok()?;
        Some((client, answer))
    });
    assert_eq!(answer.1, "whole", "what is in flight ends");
    wait::until_true("it is told in HTTP/2", || old2.is_closed());
    assert!(!young(&mut old), "it is told in HTTP/1");
    let clients =
        ["http1", "http2"].map(|wire| mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire]));
    let mut connections = clients.iter().map(|client| client.connect(&format!("{WEB}:80"))).collect::<Vec<_>>();

    // Sidecars replace them, their applications see nothing of it, and nobody takes it for the pod's end.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        for connection in &mut connections {
            let answer = connection.send("POST", "/", &[], b"not idempotent").unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, ""));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(clients.iter().all(|client| !leaves(client, "web-1")));
    drop(app);
}
