//! What can go wrong with a message.

use std::io;

use crate::cut;
use crate::http2::Reason;

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What came is not HTTP/1, or could be read in more than one way.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The head is longer than is accepted, or has too many fields.
    #[error("the head is too large")]
    HeadTooLarge,
    /// The request's target is longer than is accepted.
    #[error("the request's target is too long")]
    TargetTooLong,
    /// The peer closed before the first byte of a response.
    #[error("connection closed before a response")]
    Closed,
    /// The peer closed in the middle of a message.
    #[error("connection closed before message completed")]
    Incomplete,
    /// A head has begun and was not complete in time.
    #[error("the head was not complete within {} s", .0.as_secs())]
    HeadTimeout(std::time::Duration),
    /// The client of the request has ended its side, and the server closed without a response.
    #[error("the client ended its side, and the connection closed before a response")]
    Left,
    /// The body that was to be sent broke off, or is not as long as was said.
    #[error("the body broke off: {0}")]
    Body(String),
    /// The peer of the body that was to be sent has reset its connection, or its stream.
    #[error("the body was reset: {0}")]
    BodyReset(String),
    /// Writing failed before the first byte had left: the peer has got nothing.
    #[error("{0}")]
    Unsent(io::Error),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(io::Error),
}

impl Error {
    /// Says whether the peer's message was at fault, and not the connection.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::HeadTooLarge | Self::TargetTooLong)
    }

    /// Returns the code that says that the connection was reset, if it was.
    pub(crate) fn reset(&self) -> Option<Reason> {
        matches!(self, Self::Io(error) if cut::is_reset(error.kind())).then_some(cut::CONNECTION_RESET)
    }

    /// Makes the error that a body which failed with this one returns to every later reader: what the peer did wrong stays, all else is a
    /// message that was not completed.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Malformed(what) => Self::Malformed(what),
            Self::HeadTooLarge => Self::HeadTooLarge,
            Self::TargetTooLong => Self::TargetTooLong,
            Self::Closed
            | Self::Incomplete
            | Self::HeadTimeout(_)
            | Self::Left
            | Self::Body(_)
            | Self::BodyReset(_)
            | Self::Unsent(_) => Self::Incomplete,
            Self::Io(error) => Self::Io(error.kind().into()),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
