//! HTTP/2 (RFC 9113) for a proxy: [`serve`] for a connection that was accepted, [`connect`] for one that was made. A connection is one
//! task; its state is behind one lock, so that a stream's frames are written where they come to be and leave together in one write. It
//! neither knows nor asks what the requests are for.
//!
//! `server`, `client`: the two tasks; `receive`: frames in; `send`: frames out; `state`: the connection between them; `incoming`: the body
//! that a reader takes; `pump`: the body that is written.

mod beside;
mod blocks;
mod client;
mod error;
mod flood;
mod frame;
mod head;
mod hpack;
mod incoming;
mod io;
mod late;
mod link;
mod output;
mod pump;
mod ready;
mod receive;
mod send;
mod server;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod timer;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

pub use client::{Sender, connect, connect_told};
pub use error::{Error, Reason};
pub use incoming::Incoming;
pub use server::{serve, serve_until};

/// Words the answer, 431, to a request whose head is too large. What was read of its fields says what its sender understands.
pub type Refusal = fn(&HeaderMap) -> Response<Bytes>;

/// An answer without a word.
pub fn bare(_: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response
}

/// What a connection grants its peer, and how it finds out that the peer is gone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many streams may be open at once, at first.
    pub max_streams: u32,
    /// To how many that grows for a peer that uses them, if that is more.
    pub most_streams: u32,
    /// How much of a body may be on its way or unread, at first.
    pub stream_window: u32,
    /// To how much that grows for a body whose reader takes what comes, if that is more. All streams together grow by a quarter of the connection's window at
    /// most: while the rest has room for the first window of each stream, none that nobody reads holds up another.
    pub grown_window: u32,
    /// How much of all bodies may be on its way or unread.
    pub connection_window: u32,
    /// How large a head may be, counted as RFC 9113 §6.5.2 says: 32 more for each field.
    pub max_head: u32,
    /// What the heads and trailers of all streams may take of memory together; one is always accepted.
    pub max_heads: usize,
    /// How many streams the peer may reset in a second before their responses have begun.
    pub max_resets: u32,
    /// A silent peer with streams open is asked whether it is there. Programs count what they are asked, and may end a connection for it.
    pub pings: bool,
    /// After so much silence it is asked; what the connection needs no longer is given back as often.
    pub ping_interval: Duration,
    /// After so much more silence it is not there.
    pub ping_timeout: Duration,
    /// How long a peer may take nothing of what waits for it; `None`: as long as it likes.
    pub unread: Option<Duration>,
    /// How long a frame, a header block or the first SETTINGS may take to come whole.
    pub half: Duration,
    /// What a client is told whose request has a head that is too large.
    pub refusal: Refusal,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 256,
            most_streams: 0,
            stream_window: 256 << 10,
            grown_window: 0,
            connection_window: 1 << 20,
            max_head: 64 << 10,
            max_heads: 768 << 10,
            max_resets: 500,
            pings: true,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            unread: Some(Duration::from_secs(60)),
            half: Duration::from_secs(10),
            refusal: bare,
        }
    }
}
