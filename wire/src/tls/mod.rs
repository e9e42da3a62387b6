//! TLS streams that hold no buffer when they have nothing to say: the bytes under the HTTP codecs and under opaque connections.
//!
//! rustls speaks the protocol and owns the keys, through its unbuffered API; this module moves the bytes. Ciphertext is read into, and
//! written from, one scratch buffer a thread. Only what must outlive a call stays with its connection: the start of a record, plaintext
//! the caller had no room for, ciphertext the socket did not take.
//!
//! Who the peer may be is in the configuration; early data (0-RTT) is not supported.

mod conn;
mod handshake;
mod kept;
mod read;
mod scratch;
mod write;

#[cfg(test)]
mod tests;

use std::io;

use rustls::pki_types::CertificateDer;

pub use self::handshake::{accept, connect};

use self::conn::Conn;
use self::kept::Kept;

/// A TLS connection over `I`, of either side, after its handshake.
///
/// What is written is encrypted at once and sent by the same call as far as `I` takes it: `poll_flush` is needed only for what `I` did
/// not take. Reading never writes, so each half may belong to its own task (`tokio::io::split`).
#[derive(Debug)]
pub struct TlsStream<I> {
    io: I,
    /// Boxed: more than a kilobyte that a future should not carry.
    conn: Box<Conn>,
    /// Ciphertext that waits for the rest of its record, or the start of a handshake message in several records.
    incoming: Vec<u8>,
    /// Decrypted, not yet delivered.
    plain: Kept,
    /// Encrypted, not yet sent. Nothing more is accepted before it is.
    outgoing: Kept,
    receiving: Receiving,
    sending: Sending,
    /// The TLS error that ended this connection.
    failed: Option<Box<rustls::Error>>,
}

impl<I> TlsStream<I> {
    /// Names the protocol that ALPN chose.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.conn.common().alpn_protocol()
    }

    /// Shows the certificates the peer has proved to own, its leaf first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.conn.common().peer_certificates()
    }

    /// Borrows what carries the ciphertext.
    pub fn get_ref(&self) -> &I {
        &self.io
    }

    /// Borrows what carries the ciphertext, to change its options; reading from it or writing to it breaks the connection.
    pub fn get_mut(&mut self) -> &mut I {
        &mut self.io
    }

    fn new(conn: Conn, io: I) -> Self {
        Self {
            io,
            conn: Box::new(conn),
            incoming: Vec::new(),
            plain: Kept::default(),
            outgoing: Kept::default(),
            receiving: Receiving::Open,
            sending: Sending::Open,
            failed: None,
        }
    }
}

/// What may still come from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    /// The peer sent its close_notify: every byte has been received.
    Closed,
    /// The bytes ended without one: an attacker may have cut them.
    Truncated,
}

/// What may still go to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// Our close_notify has been encrypted: it was the last.
    Closed,
    /// A write failed with ciphertext in hand: a gap in the records would look like an attack to the peer.
    Broken,
}

/// Wraps a TLS error so that callers can find it by downcast.
fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Plaintext of a full record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;

/// A record's header: type, version, length.
const HEADER: usize = 5;
