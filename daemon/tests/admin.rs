//! The admin endpoints, asked by clients that do their worst.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_daemon::{Admin, Drain, Listeners, Metrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Everything, health alone, and how often the action was run.
async fn served() -> (SocketAddr, SocketAddr, Arc<AtomicUsize>) {
    let run = Arc::new(AtomicUsize::new(0));
    let runs = run.clone();
    let admin = Admin::new(Metrics::new()).page("/config", "application/json", || "{}".repeat(4 * 1024 * 1024)).action(
        "/leave",
        move || {
            runs.fetch_add(1, Ordering::Relaxed);
        },
    );
    let [all, health] = [listener().await, listener().await];
    let addresses = [&all, &health].map(|listener| listener.local_addr().unwrap());
    tokio::spawn(admin.serve_on(Listeners { all, health: Some(health), metrics: None }, Drain::default()));
    (addresses[0], addresses[1], run)
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Sends bytes, and returns the status line of what comes back.
async fn say(address: SocketAddr, bytes: &str) -> String {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Many times the kubelet's patience.
    tokio::time::timeout(Duration::from_secs(10), io.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn silent_connections_keep_no_probe_out() {
    let (all, health, _) = served().await;
    for address in [all, health] {
        let mut silent = Vec::new();
        for _ in 0..400 {
            let mut io = TcpStream::connect(address).await.unwrap();
            io.write_all(b"GET /live HT").await.unwrap();
            silent.push(io);
        }

        for path in ["/live", "/ready"].into_iter().cycle().take(50) {
            assert_eq!(
                say(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n")).await,
                "HTTP/1.1 200 OK"
            );
        }
    }
}

#[tokio::test]
async fn pages_that_nobody_reads_keep_no_probe_out() {
    let (all, _, _) = served().await;
    let mut unread = Vec::new();
    for _ in 0..40 {
        let mut io = TcpStream::connect(all).await.unwrap();
        io.write_all(b"GET /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        unread.push(io);
    }
    // The first pages have begun.
    unread[0].read_u8().await.unwrap();

    assert_eq!(say(all, "GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "HTTP/1.1 200 OK");

    drop(unread);
    assert_eq!(say(all, "HEAD /config HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_action_needs_its_header_and_a_host_of_this_machine() {
    let (all, health, run) = served().await;
    let own = "outrigger-action: leave\r\n";
    for (request, status) in [
        // What a form of a web page, or a server that fetches any address, can send.
        (format!("POST /leave HTTP/1.1\r\nhost: {all}\r\ncontent-length: 0\r\n\r\n"), "403"),
        (format!("POST /leave HTTP/1.1\r\nhost: {all}\r\noutrigger-action: stay\r\n\r\n"), "403"),
        (format!("GET /leave HTTP/1.1\r\nhost: {all}\r\n{own}\r\n"), "405"),
        (format!("HEAD /leave HTTP/1.1\r\nhost: {all}\r\n{own}\r\n"), "405"),
        (format!("OPTIONS /leave HTTP/1.1\r\nhost: {all}\r\n{own}\r\n"), "405"),
        (format!("PUT /leave HTTP/1.1\r\nhost: {all}\r\n{own}\r\n"), "405"),
        (format!("POST /leave HTTP/1.1\r\nhost: evil.example\r\n{own}\r\n"), "421"),
        (format!("POST /leave HTTP/1.1\r\nhost: localhost.evil.example:4191\r\n{own}\r\n"), "421"),
        (format!("POST http://evil.example/leave HTTP/1.1\r\nhost: {all}\r\n{own}\r\n"), "421"),
    ] {
        let answer = say(all, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    let action = format!("POST /leave HTTP/1.1\r\nhost: {health}\r\n{own}\r\n");
    assert!(say(health, &action).await.starts_with("HTTP/1.1 404"), "not where the network reaches");
    assert_eq!(run.load(Ordering::Relaxed), 0);

    for (number, host) in [all.to_string(), "localhost:4191".to_owned(), "[::1]:4191".to_owned()].iter().enumerate() {
        assert_eq!(say(all, &format!("POST /leave HTTP/1.1\r\nhost: {host}\r\n{own}\r\n")).await, "HTTP/1.1 200 OK");
        assert_eq!(run.load(Ordering::Relaxed), number + 1);
    }
}

#[tokio::test]
async fn an_end_that_has_begun_is_told_to_all_but_the_kubelet() {
    let [all, health] = [listener().await, listener().await];
    let addresses = [&all, &health].map(|listener| listener.local_addr().unwrap());
    let drain = Drain::default();
    let listeners = Listeners { all, health: Some(health), metrics: None };
    tokio::spawn(Admin::new(Metrics::new()).serve_on(listeners, drain.clone()));
    drain.start();

    for (address, status) in addresses.into_iter().zip(["503 Service Unavailable", "200 OK"]) {
        let said = say(address, &format!("GET /ready HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
        assert_eq!(said, format!("HTTP/1.1 {status}"));
    }
}

#[tokio::test]
async fn the_listener_for_metrics_has_nothing_else() {
    let [all, metrics] = [listener().await, listener().await];
    let address = metrics.local_addr().unwrap();
    let run = Arc::new(AtomicUsize::new(0));
    let runs = run.clone();
    let admin =
        Admin::new(Metrics::new()).page("/config", "application/json", String::new).action("/leave", move || {
            runs.fetch_add(1, Ordering::Relaxed);
        });
    tokio::spawn(admin.serve_on(Listeners { all, health: None, metrics: Some(metrics) }, Drain::default()));

    for (request, status) in [
        ("GET /metrics", "200 OK"),
        ("HEAD /metrics", "200 OK"),
        ("POST /metrics", "405 Method Not Allowed"),
        ("GET /config", "404 Not Found"),
        ("GET /ready", "404 Not Found"),
        ("GET /metrics/", "404 Not Found"),
        ("POST /leave", "404 Not Found"),
    ] {
        let head = format!("{request} HTTP/1.1\r\nhost: {address}\r\noutrigger-action: leave\r\n\r\n");
        assert_eq!(say(address, &head).await, format!("HTTP/1.1 {status}"), "{request}");
    }
    assert_eq!(run.load(Ordering::Relaxed), 0);
}
