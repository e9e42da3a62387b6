//! HTTP/2 (RFC 9113) for a proxy: [`serve`] for a connection that was accepted, [`connect`] for one that was made. A connection is one
//! task; its state is behind one lock, so that a stream's frames are written where they come to be and leave together in one write. It
//! neither knows nor asks what the requests are for.
//!
//! `server`, `client`: the two tasks; `receive`: frames in; `send`: frames out; `state`: the connection between them; `incoming`: the body
//! that a reader takes; `pump`: the body that is written.

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

pub use client::{Sender, connect};
pub use error::{Error, Reason};
pub use incoming::Incoming;
pub use server::serve;

/// What a connection grants its peer, and how it finds out that the peer is gone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many streams may be open at once.
    pub max_streams: u32,
    /// How much of a body may be on its way or unread.
    pub stream_window: u32,
    /// How much of all bodies may be on its way or unread.
    pub connection_window: u32,
    /// How large a head may be, counted as RFC 9113 §6.5.2 says: 32 more for each field.
    pub max_head: u32,
    /// After so much silence with streams open the peer is asked whether it is there.
    pub ping_interval: Duration,
    /// After so much more silence it is not.
    pub ping_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 256,
            stream_window: 256 << 10,
            connection_window: 1 << 20,
            max_head: 64 << 10,
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
        }
    }
}
