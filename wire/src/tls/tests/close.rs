use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn each_half_closes_by_itself() {
    for who in PAIRS {
        for client_first in [true, false] {
            let (a, b) = duplex(1000);
            let (client, server) = pair(who, a, b).await;
            let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
            let mut received = Vec::new();

            first.write_all(b"done").await.expect("write");
            first.shutdown().await.expect("shut");
            second.read_to_end(&mut received).await.expect("a clean end");
            assert_eq!(received, b"done");
            assert_eq!(second.read(&mut [0; 10]).await.expect("still the end"), 0);

            received.clear();
            let long = pattern(100_000);
            let (sent, read) = tokio::join!(
                async {
                    second.write_all(&long).await?;
                    second.shutdown().await
                },
                first.read_to_end(&mut received)
            );
            sent.expect("write to whoever has closed");
            read.expect("a clean end");
            assert!(received == long);
        }
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_unexpected() {
    for who in [(Who::Us, Who::Us), (Who::TokioRustls, Who::Us)] {
        let (a, b) = duplex(1000);
        let (mut client, mut server) = pair(who, a, b).await;
        client.write_all(b"cut").await.expect("write");
        client.flush().await.expect("flush");
        drop(client);

        let mut buf = [0; 10];
        assert_eq!(server.read(&mut buf).await.expect("what came before"), 3);
        for _ in 0..2 {
            let error = server.read(&mut buf).await.expect_err("cut");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}

#[tokio::test]
async fn an_end_within_a_record_is_unexpected() {
    let (a, b) = duplex(100_000);
    let (a, seen) = watched(a);
    let (mut client, server) = our_pair(a, b).await;
    let mut server = server;
    seen.written.lock().clear();
    client.write_all(b"whole").await.expect("write");
    let record = seen.written.lock().clone();
    let mut raw = client.io.io;
    raw.write_all(&record[..record.len() - 1]).await.expect("write");
    drop(raw);

    let mut buf = [0; 10];
    assert_eq!(server.read(&mut buf).await.expect("what came before"), 5);
    assert_eq!(server.read(&mut buf).await.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn nothing_can_be_written_after_the_shutdown() {
    let (a, b) = duplex(1000);
    let (mut client, mut server) = our_pair(a, b).await;

    client.shutdown().await.expect("shut");
    client.shutdown().await.expect("again");

    assert_eq!(client.write(b"late").await.expect_err("shut").kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(server.read(&mut [0; 10]).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn a_shutdown_sends_what_is_kept_first() {
    let (a, b) = duplex(100);
    let (mut client, mut server) = our_pair(a, b).await;
    let long = pattern(50_000);
    let count = client.write(&long).await.expect("accepted");
    assert!(!client.outgoing.is_empty());
    let mut received = Vec::new();

    let (shut, read) = tokio::join!(client.shutdown(), server.read_to_end(&mut received));

    shut.expect("shut");
    read.expect("a clean end");
    assert!(received == long[..count]);
}
