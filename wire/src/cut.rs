//! How a message breaks off, and what the other connection of its request is told: a reset stays a reset, and a mere end an end.
//!
//! HTTP/1 has a reset of the connection, HTTP/2 a code for each stream. Between two sidecars that carry HTTP/1 over HTTP/2, `CONNECT_ERROR`
//! stands for a reset of the connection (RFC 9113 section 7 has it for connections that were reset or abnormally closed).

use std::error::Error;
use std::io;

use crate::http1;
use crate::http2::{self, Reason};

/// What a body may fail with.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Finds out whether a body failed because its peer has reset the stream or the connection that it came from: the code that says so.
pub(crate) fn reset_behind(error: &(dyn Error + 'static)) -> Option<Reason> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(http2::Error::Reset { reason }) = error.downcast_ref() {
            return Some(*reason);
        }
        if let Some(http1::Error::Io(error)) = error.downcast_ref() {
            return is_reset(error.kind()).then_some(CONNECTION_RESET);
        }
        cause = error.source();
    }
    None
}

/// Says whether a connection that failed so was reset. One of TLS that ends without a close_notify may have been closed by a process that
/// has ended: its peer would see the end without TLS, too.
pub(crate) fn is_reset(kind: io::ErrorKind) -> bool {
    kind != io::ErrorKind::UnexpectedEof
}

/// The code that stands for a reset of a connection of HTTP/1.
pub(crate) const CONNECTION_RESET: Reason = Reason::CONNECT_ERROR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_from_an_end() {
        let io = |kind: io::ErrorKind| http1::Error::Io(kind.into());
        assert_eq!(reset_behind(&io(io::ErrorKind::ConnectionReset)), Some(Reason::CONNECT_ERROR));
        assert_eq!(reset_behind(&io(io::ErrorKind::ConnectionReset).again()), Some(Reason::CONNECT_ERROR));
        assert_eq!(reset_behind(&io(io::ErrorKind::UnexpectedEof)), None);
        assert_eq!(reset_behind(&http1::Error::Incomplete), None);
        let reset = |reason| http2::Error::Reset { reason };
        assert_eq!(reset_behind(&reset(Reason::CANCEL)), Some(Reason::CANCEL));
        assert_eq!(reset_behind(&http2::Error::Ended), None);
    }
}
