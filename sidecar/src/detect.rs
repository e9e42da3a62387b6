//! What a connection carries, found out without ever making anyone wait.
//!
//! A client on the same machine that speaks first has spoken within a millisecond or two. After that the destination
//! is dialled for bytes, and the first byte of either side decides: the server's means that the server speaks first;
//! the client's are looked at as if they had come at once, however they are split. There is no timeout to tune. Only where
//! the client may be a peer of the mesh on a busy machine, the server's word is kept back a moment for its TLS.

mod client_hello;
mod prefixed;
mod sniff;

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_proto::model::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use client_hello::mesh_hello;
pub(crate) use prefixed::Prefixed;
pub(crate) use sniff::{Verdict, sniff};

use crate::error::ProxyError;

/// How long a client that speaks first may take before the destination is dialled for bytes as well.
const GRACE: Duration = Duration::from_millis(2);

/// How long a client may still prove that it speaks HTTP or TLS, and so get an answer in words, when the dial has failed.
const AFTER_FAILED_DIAL: Duration = Duration::from_millis(500);

/// How long a client that has begun may take to show what it speaks: a request line, a preface, a ClientHello. After that its
/// bytes are passed on as they are, so that nobody is kept waiting by half of one, and the app decides, as without the mesh.
const STALLED: Duration = Duration::from_secs(10);

/// How long a peer's TLS may come after the server has spoken: what a busy machine takes from connect to hello. A client
/// without TLS waits for it, where servers speak first.
pub(crate) const HELLO: Duration = Duration::from_millis(50);

/// What is known of the two sides.
pub(crate) struct Sides<'a> {
    /// What former connections to the destination have taught of the server; learns from this one.
    pub(crate) server_first: &'a AtomicBool,
    /// How long the client may start TLS when the server has spoken.
    pub(crate) hello: Duration,
}

/// What a connection carries; `P` is the dialled peer.
pub(crate) enum Detected<P> {
    Http1,
    Http2,
    /// TLS that the other side, not the client, has to understand; dialled already, if the client took its time.
    Tls(Option<Prefixed<P>>),
    Opaque(Option<Prefixed<P>>),
    /// The client left without a word.
    Closed,
}

/// Finds out what `io` carries. `open` dials the destination for bytes.
pub(crate) async fn detect<T, P, F>(
    io: &mut Prefixed<T>,
    declared: Protocol,
    sides: Sides<'_>,
    open: F,
) -> Result<Detected<P>, ProxyError>
where
    T: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Unpin,
    F: AsyncFnOnce() -> Result<P, ProxyError>,
{
    match declared {
        Protocol::Opaque => return Ok(Detected::Opaque(None)),
        Protocol::Tls => return Ok(Detected::Tls(None)),
        Protocol::Http | Protocol::Http2 => {
            // Declared HTTP: the client speaks first, and what is not HTTP is answered as malformed.
            if io.seen().is_empty() && io.fill().await.unwrap_or(0) == 0 {
                return Ok(Detected::Closed);
            }
            return Ok(match settled(io).await {
                Verdict::Http2 => Detected::Http2,
                Verdict::Tls => Detected::Tls(None),
                // No request line either: that is a connection preface gone wrong (RFC 9113 section 3.4).
                Verdict::Other if declared == Protocol::Http2 => Detected::Http2,
                Verdict::Http1 | Verdict::Other | Verdict::More => Detected::Http1,
            });
        }
        Protocol::Detect => {}
    }
    let grace = if sides.server_first.load(Ordering::Relaxed) { Duration::ZERO } else { GRACE };
    if let Ok(read) = timeout(grace, io.fill()).await {
        if read.unwrap_or(0) == 0 {
            return Ok(Detected::Closed);
        }
        // The client speaks first. A request line may come in pieces; anything else is known by its first bytes.
        settled(io).await;
        return Ok(decided(io, None));
    }
    let mut peer = match open().await {
        Ok(peer) => Prefixed::new(peer),
        Err(error) => return failed_dial(io, error).await,
    };
    let mut begun: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            // The server's byte first: it may have been waiting while the client's was sent as an answer to it.
            read = peer.fill() => {
                let spoke = read.is_ok_and(|read| read > 0);
                if spoke {
                    sides.server_first.store(true, Ordering::Relaxed);
                }
                let tls = spoke && says_hello(io, sides.hello).await;
                return Ok(if tls { Detected::Tls(Some(peer)) } else { Detected::Opaque(Some(peer)) });
            }
            read = io.fill() => {
                if read.unwrap_or(0) == 0 {
                    // Nothing more to come from the client; the server may still speak.
                    return Ok(Detected::Opaque(Some(peer)));
                }
                match sniff(io.seen()) {
                    Verdict::More => drop(begun.get_or_insert_with(Instant::now)),
                    _ => return Ok(decided(io, Some(peer))),
                }
            }
            () = stalled(begun) => return Ok(Detected::Opaque(Some(peer))),
        }
    }
}

/// Reads on until it is known what the client speaks, or [`STALLED`], or the client has ended.
async fn settled<T: AsyncRead + AsyncWrite + Unpin>(io: &mut Prefixed<T>) -> Verdict {
    let more = async { while sniff(io.seen()) == Verdict::More && io.fill().await.unwrap_or(0) > 0 {} };
    // Too late is as much an answer as any.
    let _ = timeout(STALLED, more).await;
    sniff(io.seen())
}

/// Completes [`STALLED`] after the client's first byte.
async fn stalled(begun: Option<Instant>) {
    match begun {
        Some(begun) => sleep_until(begun + STALLED).await,
        None => pending().await,
    }
}

/// Whether the client starts TLS in time. Whatever else it says is left for the server.
async fn says_hello<T: AsyncRead + AsyncWrite + Unpin>(io: &mut Prefixed<T>, time: Duration) -> bool {
    let hello = async {
        while sniff(io.seen()) == Verdict::More && io.fill().await.unwrap_or(0) > 0 {}
        sniff(io.seen()) == Verdict::Tls
    };
    !time.is_zero() && timeout(time, hello).await.unwrap_or(false)
}

fn decided<T, P>(io: &Prefixed<T>, peer: Option<Prefixed<P>>) -> Detected<P> {
    match sniff(io.seen()) {
        // The connection for bytes is dropped unused.
        Verdict::Http1 => Detected::Http1,
        Verdict::Http2 => Detected::Http2,
        Verdict::Tls => Detected::Tls(peer),
        Verdict::Other | Verdict::More => Detected::Opaque(peer),
    }
}

/// An HTTP client deserves an answer that says what is wrong, and so does one inside a peer's TLS; any other learns from
/// the closed connection.
async fn failed_dial<T, P>(io: &mut Prefixed<T>, error: ProxyError) -> Result<Detected<P>, ProxyError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let more = async {
        loop {
            if io.fill().await.unwrap_or(0) == 0 {
                return Verdict::Other;
            }
            match sniff(io.seen()) {
                Verdict::More => {}
                verdict => return verdict,
            }
        }
    };
    match timeout(AFTER_FAILED_DIAL, more).await {
        Ok(Verdict::Http1) => Ok(Detected::Http1),
        Ok(Verdict::Http2) => Ok(Detected::Http2),
        Ok(Verdict::Tls) => Ok(Detected::Tls(None)),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_proto::ErrorCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    async fn run(client: DuplexStream, server: Option<DuplexStream>) -> Detected<DuplexStream> {
        let mut io = Prefixed::new(client);
        let open = async || server.ok_or_else(|| ProxyError::new(ErrorCode::ConnectionRefused, "closed"));
        let server_first = AtomicBool::new(false);
        let sides = Sides { server_first: &server_first, hello: Duration::ZERO };
        detect(&mut io, Protocol::Detect, sides, open).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_on_a_busy_machine_is_heard_after_a_server_that_speaks_first() {
        for (says, after, tls) in [
            (Some(&[22, 3, 1, 0, 1, 1][..]), 30, true),
            (Some(&[22, 3, 1, 0, 1, 1]), 300, false),
            (Some(b"EHLO me\r\n"), 30, false),
            (None, 0, false),
        ] {
            let (mut client, a) = duplex(100);
            let (mut server, b) = duplex(100);
            server.write_all(b"220 mail").await.unwrap();
            let server_first = AtomicBool::new(true);
            let said = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                if let Some(bytes) = says {
                    client.write_all(bytes).await.unwrap();
                }
                client
            });

            let mut io = Prefixed::new(a);
            let sides = Sides { server_first: &server_first, hello: HELLO };
            let detected = detect(&mut io, Protocol::Detect, sides, async || Ok(b)).await.unwrap();

            match detected {
                Detected::Tls(Some(peer)) => assert!(tls && peer.seen() == b"220 mail"),
                Detected::Opaque(Some(peer)) => assert!(!tls && peer.seen() == b"220 mail"),
                _ => panic!("{says:?} after {after} ms"),
            }
            let _ = said.await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_speaks_first_is_heard_at_once() {
        let (_client, a) = duplex(100);
        let (mut server, b) = duplex(100);
        server.write_all(b"220 mail").await.unwrap();
        let start = Instant::now();

        let Detected::Opaque(Some(mut peer)) = run(a, Some(b)).await else { panic!("not opaque") };

        assert!(start.elapsed() <= GRACE + Duration::from_millis(1));
        let mut greeting = [0; 8];
        peer.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 mail");
    }

    #[tokio::test(start_paused = true)]
    async fn late_and_split_http_is_still_http() {
        let (mut client, a) = duplex(100);
        let (_server, b) = duplex(100);
        let detecting = tokio::spawn(run(a, Some(b)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        for byte in b"GET / HTTP/1.1\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
        }

        assert!(matches!(detecting.await.unwrap(), Detected::Http1));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_line_or_preface_is_bytes_after_ten_seconds() {
        for half in [&b"G"[..], b"GET /a", b"PRI * HTTP/2.0\r\n\r\nS", b"\r\n"] {
            for (declared, late) in
                [(Protocol::Detect, false), (Protocol::Detect, true), (Protocol::Http, false), (Protocol::Http2, false)]
            {
                let (mut client, a) = duplex(100);
                let (_server, b) = duplex(100);
                let detecting = tokio::spawn(async move {
                    let mut io = Prefixed::new(a);
                    let server_first = AtomicBool::new(false);
                    let sides = Sides { server_first: &server_first, hello: Duration::ZERO };
                    detect(&mut io, declared, sides, async || Ok(b)).await
                });
                if late {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                let start = Instant::now();
                // One byte now and then is no more than one byte.
                for byte in half {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::time::sleep(STALLED / 2 / half.len() as u32).await;
                }

                match detecting.await.unwrap().unwrap() {
                    Detected::Opaque(dialled) => assert!(declared == Protocol::Detect && dialled.is_some() == late),
                    // Answered as malformed, or waited for by HTTP's own limit.
                    Detected::Http1 => assert!(declared != Protocol::Detect),
                    _ => panic!("{declared:?} {}", half.escape_ascii()),
                }
                let took = start.elapsed();
                assert!(took >= STALLED && took <= STALLED + Duration::from_secs(1), "{took:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_whose_hello_comes_after_a_failed_dial_is_heard() {
        let (mut client, a) = duplex(100);
        let detecting = tokio::spawn(run(a, None));
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();

        assert!(matches!(detecting.await.unwrap(), Detected::Tls(None)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_split_anywhere_is_http2() {
        for split in 1..24 {
            let (mut client, a) = duplex(100);
            let (_server, b) = duplex(100);
            let detecting = tokio::spawn(run(a, Some(b)));
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            client.write_all(&preface[..split]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.write_all(&preface[split..]).await.unwrap();

            assert!(matches!(detecting.await.unwrap(), Detected::Http2), "split at {split}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_client_is_served_also_when_the_dial_fails() {
        let (mut client, a) = duplex(100);
        let detecting = tokio::spawn(run(a, None));
        tokio::time::sleep(Duration::from_millis(100)).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

        assert!(matches!(detecting.await.unwrap(), Detected::Http1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_connection_to_a_server_first_destination_does_not_wait() {
        let learned = AtomicBool::new(false);
        for limit in [GRACE + Duration::from_millis(1), Duration::ZERO] {
            let (_client, a) = duplex(100);
            let (mut server, b) = duplex(100);
            server.write_all(b"hello").await.unwrap();
            let start = Instant::now();
            let mut io = Prefixed::new(a);
            let sides = Sides { server_first: &learned, hello: Duration::ZERO };
            detect(&mut io, Protocol::Detect, sides, async || Ok(b)).await.unwrap();
            assert!(start.elapsed() <= limit + Duration::from_millis(1), "{:?}", start.elapsed());
        }
    }
}
