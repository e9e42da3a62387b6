use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Wake;

use rustls::{AlertDescription, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn a_tampered_record_ends_the_connection_and_the_peer_is_told() {
    for server_kind in [Who::Us, Who::TokioRustls] {
        let (a, b) = duplex(100_000);
        let (a, seen) = watched(a);
        let (client, server) = tokio::join!(
            super::super::connect(Arc::new(client_config()), name(), a),
            accept(server_kind, server_config(), b)
        );
        let (mut client, mut server) = (client.expect("handshake"), server.expect("handshake"));
        server.write_all(b"authentic").await.expect("write");
        server.write_all(b"forged").await.expect("write");
        seen.tamper.store(true, Ordering::Relaxed);

        let mut buf = [0; 100];
        let count = client.read(&mut buf).await.expect("what was authentic");
        assert_eq!(&buf[..count], b"authentic");
        for _ in 0..2 {
            let error = client.read(&mut buf).await.expect_err("forged");
            assert_eq!(tls_error_of(&error), &Error::DecryptError);
        }
        let error = client.write(b"more").await.expect_err("broken");
        assert_eq!(tls_error_of(&error), &Error::DecryptError);
        client.shutdown().await.expect("shut");

        let error = server.read(&mut buf).await.expect_err("told");
        assert_eq!(tls_error_of(&error), &Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[tokio::test]
async fn the_alert_of_a_reader_leaves_by_the_writer_that_waits() {
    let (a, b) = duplex(1000);
    let (a, seen) = watched(a);
    let (mut client, mut server) = our_pair(a, b).await;
    server.write_all(b"forged").await.expect("write");
    seen.tamper.store(true, Ordering::Relaxed);
    client.write_all(&pattern(5000)).await.expect("accepted");
    let (writer, reader) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let waits = Pin::new(&mut client).poll_flush(&mut Context::from_waker(&writer.clone().into()));
    assert!(waits.is_pending());
    let kept = client.outgoing.as_slice().len();

    let mut buf = [0; 10];
    let failed =
        Pin::new(&mut client).poll_read(&mut Context::from_waker(&reader.clone().into()), &mut ReadBuf::new(&mut buf));
    assert!(matches!(failed, Poll::Ready(Err(_))));

    assert_eq!(client.outgoing.as_slice().len(), kept + 24, "an alert behind what waits");
    server.get_mut().read_exact(&mut [0; 1]).await.expect("room for the writer");
    assert!(
        writer.0.load(Ordering::Relaxed) && !reader.0.load(Ordering::Relaxed),
        "the writer is still the one to be woken"
    );
}

#[tokio::test]
async fn the_alert_of_a_reader_comes_after_what_was_written() {
    let (a, b) = duplex(1000);
    let (a, seen) = watched(a);
    let (mut client, mut server) = our_pair(a, b).await;
    server.write_all(b"forged").await.expect("write");
    seen.tamper.store(true, Ordering::Relaxed);
    let accepted = client.write(&pattern(5000)).await.expect("accepted");
    client.read(&mut [0; 10]).await.expect_err("forged");

    let mut received = vec![0; accepted];
    let (flushed, read) = tokio::join!(client.flush(), server.read_exact(&mut received));

    flushed.expect("flush");
    read.expect("what was written before");
    let error = server.read(&mut [0; 10]).await.expect_err("told");
    assert_eq!(tls_error_of(&error), &Error::AlertReceived(AlertDescription::BadRecordMac));
}

/// Whether a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_record_of_a_forbidden_length_is_refused() {
    for length in [0x4101_u16, 0x47ff, 0x4801, 0xffff] {
        let (a, b) = duplex(100_000);
        let (client, mut server) = our_pair(a, b).await;
        let mut raw = client.io;
        raw.write_all(&[23, 3, 3, (length >> 8) as u8, length as u8]).await.expect("write");
        raw.write_all(&vec![0; usize::from(length)]).await.expect("write");

        let error = server.read(&mut [0; 10]).await.expect_err("too long");

        tls_error_of(&error);
    }
}

#[tokio::test]
async fn a_write_that_fails_breaks_the_sending_half_only() {
    let (a, b) = duplex(200_000);
    let (mut client, server) = our_pair(Mute { io: a, muted: false }, b).await;
    let mut server = server;
    server.write_all(b"still").await.expect("write");
    client.get_mut().muted = true;

    assert_eq!(client.write(b"lost").await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    client.get_mut().muted = false;
    assert_eq!(client.write(b"lost").await.expect_err("broken").kind(), ErrorKind::BrokenPipe);
    client.shutdown().await.expect("shut");

    let mut buf = [0; 10];
    assert_eq!(client.read(&mut buf).await.expect("the other half works"), 5);
    let error = server.read(&mut buf).await.expect_err("nothing came whole");
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_vanished_peer_is_an_error_of_the_write() {
    let (a, b) = duplex(1000);
    let (mut client, server) = our_pair(a, b).await;
    drop(server);

    let error = client.write_all(&pattern(200_000)).await.expect_err("nobody there");

    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_pending_read_does_not_lose_what_came() {
    let (a, b) = duplex(100_000);
    let (a, seen) = watched(a);
    let (mut client, server) = our_pair(a, b).await;
    let mut server = server;
    seen.written.lock().clear();
    client.write_all(&pattern(1000)).await.expect("write");
    let record = seen.written.lock().clone();
    let mut buf = vec![0; 2000];
    assert_eq!(server.read(&mut buf).await.expect("the first"), 1000);

    // The same plaintext, a byte at a time.
    client.io.seen.written.lock().clear();
    let (mut raw, cut) = duplex(10_000);
    let whole = std::mem::replace(server.get_mut(), cut);
    client.write_all(&pattern(1000)).await.expect("write");
    let second = seen.written.lock().clone();
    assert_eq!(second.len(), record.len());
    for byte in second {
        let mut into = ReadBuf::new(&mut buf);
        let pending = poll_fn(|cx| Poll::Ready(Pin::new(&mut server).poll_read(cx, &mut into))).await;
        assert!(pending.is_pending() && into.filled().is_empty());
        raw.write_all(&[byte]).await.expect("write");
    }

    assert_eq!(server.read(&mut buf).await.expect("whole at last"), 1000);
    assert!(buf[..1000] == pattern(1000));
    drop(whole);
}

/// Fails its writes when muted.
struct Mute<I> {
    io: I,
    muted: bool,
}

impl<I: AsyncRead + Unpin> AsyncRead for Mute<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Mute<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.muted {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
