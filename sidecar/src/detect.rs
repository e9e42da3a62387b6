//! What a connection carries, found out without ever making anyone wait.
//!
//! A client on the same machine that speaks first has spoken within a millisecond or two. After that the destination
//! is dialled for bytes, and the first byte of either side decides: the server's means that the server speaks first.
//! What the client says is known by its first bytes, but for a beginning that HTTP or a TLS record and other protocols share (`G`, `mntr`): it is
//! passed on when nothing has followed after a few milliseconds, and waited for only where HTTP is known to be spoken. There is no
//! timeout to tune. Only where the client may be a peer of the mesh on a busy machine, the server's word is kept back a moment
//! for its TLS.

mod client_hello;
mod learned;
mod prefixed;
mod sniff;
mod watch;

use std::future::pending;
use std::time::Duration;

use outrigger_proto::model::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use client_hello::mesh_hello;
pub(crate) use learned::Learned;
pub(crate) use prefixed::Prefixed;
pub(crate) use sniff::{Verdict, sniff};
pub(crate) use watch::{Late, Passed, watch};

use crate::error::ProxyError;
use crate::stream::Reset;

/// How long a client that speaks first may take before the destination is dialled for bytes as well.
const GRACE: Duration = Duration::from_millis(2);

/// How long a client may still prove that it speaks HTTP or TLS, and so get an answer in words, when the dial has failed.
const AFTER_FAILED_DIAL: Duration = Duration::from_millis(500);

/// How long the rest of a request line or a preface may take where it is not known that HTTP is spoken. After that its bytes are
/// passed on as they are: other protocols have words that begin like a method, and their clients wait for an answer.
const UNDECIDED: Duration = Duration::from_millis(5);

/// The same where HTTP is spoken, and for the rest of a ClientHello, which no client of any protocol expects an answer to.
const STALLED: Duration = Duration::from_secs(10);

/// How long a peer's TLS may come after the server has spoken: what a busy machine takes from connect to hello. A client
/// without TLS waits for it, where servers speak first.
pub(crate) const HELLO: Duration = Duration::from_millis(50);

/// How long the settings of an HTTP/2 server are kept back for its client, who has no use for them before it has spoken.
const SETTINGS_HELD: Duration = Duration::from_millis(200);

/// What is known of the two sides.
pub(crate) struct Sides<'a> {
    /// What former connections to the destination have taught; learns from this one.
    pub(crate) learned: &'a Learned,
    /// HTTP is to be expected, whatever was learned.
    pub(crate) has_routes: bool,
    /// How long the client may start TLS when the server has spoken.
    pub(crate) hello: Duration,
}

impl Sides<'_> {
    /// How long the client may take to end what could become HTTP.
    fn patience(&self) -> Duration {
        if self.has_routes || self.learned.is_http() {
            STALLED
        } else if self.learned.has_words() {
            Duration::ZERO
        } else {
            UNDECIDED
        }
    }

    fn decided<T, P>(&self, io: &Prefixed<T>, peer: Option<Prefixed<P>>) -> Detected<P> {
        let verdict = sniff(io.seen());
        self.learned.verdict(verdict);
        match verdict {
            // The connection for bytes is dropped unused.
            Verdict::Http1 => Detected::Http1,
            Verdict::Http2 => Detected::Http2,
            Verdict::Tls => Detected::Tls(peer),
            Verdict::Other | Verdict::More => Detected::Opaque(peer),
        }
    }
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

/// Finds out what `io` carries. `open` dials the destination for bytes. A client that ends its side early may still be told
/// something: that is bytes as well.
pub(crate) async fn detect<T, P, F>(
    io: &mut Prefixed<T>,
    declared: Protocol,
    sides: Sides<'_>,
    open: F,
) -> Result<Detected<P>, ProxyError>
where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
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
            return Ok(match settled(io, STALLED).await {
                Verdict::Http2 => Detected::Http2,
                Verdict::Tls => Detected::Tls(None),
                // No request line either: that is a connection preface gone wrong (RFC 9113 section 3.4).
                Verdict::Other if declared == Protocol::Http2 => Detected::Http2,
                Verdict::Http1 | Verdict::Other | Verdict::More => Detected::Http1,
            });
        }
        Protocol::Detect => {}
    }
    let grace = if sides.learned.server_speaks_first() { Duration::ZERO } else { GRACE };
    match timeout(grace, io.fill()).await {
        Ok(Ok(0)) => return Ok(Detected::Opaque(None)),
        Ok(Ok(_)) => {
            // The client speaks first. A request line may come in pieces; anything else is known by its first bytes.
            settled(io, sides.patience()).await;
            return Ok(sides.decided(io, None));
        }
        Ok(Err(_)) => return Ok(Detected::Closed),
        Err(_) => {}
    }
    let mut peer = match open().await {
        Ok(peer) => Prefixed::new(peer),
        Err(error) => return failed_dial(io, error).await,
    };
    let mut until: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            // The server's byte first: it may have been waiting while the client's was sent as an answer to it.
            read = peer.fill() => {
                if is_settings(peer.seen()) {
                    settled(io, SETTINGS_HELD).await;
                    return Ok(if io.seen().is_empty() { Detected::Opaque(Some(peer)) } else { sides.decided(io, Some(peer)) });
                }
                if read.is_ok_and(|read| read > 0) {
                    sides.learned.server_spoke_first();
                }
                let tls = says_hello(io, sides.hello).await;
                return Ok(if tls { Detected::Tls(Some(peer)) } else { Detected::Opaque(Some(peer)) });
            }
            read = io.fill() => {
                if read.unwrap_or(0) == 0 {
                    // Nothing more to come from the client; the server may still speak.
                    return Ok(Detected::Opaque(Some(peer)));
                }
                if sniff(io.seen()) != Verdict::More {
                    return Ok(sides.decided(io, Some(peer)));
                }
                until.get_or_insert_with(|| Instant::now() + sides.patience());
            }
            () = reached(until) => return Ok(sides.decided(io, Some(peer))),
        }
    }
}

/// Reads on until it is known what the client speaks, or `patience` is over, or the client has ended.
async fn settled<T: AsyncRead + AsyncWrite + Unpin>(io: &mut Prefixed<T>, patience: Duration) -> Verdict {
    let more = async { while sniff(io.seen()) == Verdict::More && io.fill().await.unwrap_or(0) > 0 {} };
    // Too late is as much an answer as any.
    let _ = timeout(patience, more).await;
    sniff(io.seen())
}

/// Whether a server begins HTTP/2: it may send its SETTINGS as soon as it has accepted, and does not speak first for that (RFC 9113
/// section 3.4).
fn is_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, _, 4, 0, 0, 0, 0, 0, ..])
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
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

/// An HTTP client deserves an answer that says what is wrong, and so does one inside a peer's TLS; any other learns from
/// the reset.
async fn failed_dial<T, P>(io: &mut Prefixed<T>, error: ProxyError) -> Result<Detected<P>, ProxyError>
where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
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
        _ => {
            io.reset_when_dropped();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
