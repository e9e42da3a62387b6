//! Why a connection or a stream ended.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a connection or a stream ended before its time.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke the protocol, or a limit that keeps it in bounds.
    #[error("peer broke HTTP/2: {what} ({reason})")]
    Protocol {
        /// What the peer was told.
        reason: Reason,
        /// What it did.
        what: &'static str,
    },
    /// The peer reset the stream.
    #[error("peer reset the stream: {reason}")]
    Reset {
        /// What the peer gave as the reason.
        reason: Reason,
    },
    /// The peer goes away and did not take this stream.
    #[error("peer goes away and left the request: {reason}")]
    GoAway {
        /// What the peer gave as the reason.
        reason: Reason,
    },
    /// The request never left: the connection was at its end.
    #[error("connection was at its end before the request was sent")]
    Unsent,
    /// The request's head is larger than the peer takes (SETTINGS_MAX_HEADER_LIST_SIZE). It was not sent.
    #[error("head of the request has {size} octets, and the peer takes {most}")]
    HeadTooLarge {
        /// What it has, counted as RFC 9113 §6.5.2 says.
        size: usize,
        /// What the peer takes.
        most: usize,
    },
    /// The connection ended in the midst of the stream.
    #[error("connection ended in the midst of a stream")]
    Ended,
    /// This side gave the stream up.
    #[error("stream was given up")]
    GivenUp,
    /// The connection failed.
    #[error("connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The peer does not answer.
    #[error("peer does not answer to PING")]
    Silent,
    /// The peer takes nothing of what is sent to it.
    #[error("peer reads nothing of what is sent to it")]
    Unread,
}

impl Error {
    /// Whether the peer broke the protocol.
    pub fn is_protocol(&self) -> bool {
        matches!(self, Self::Protocol { .. })
    }

    /// Whether the connection ended, and with it the stream.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Ended | Self::Io(_) | Self::Silent | Self::Unread | Self::GoAway { .. })
    }

    /// Whether the peer cannot have begun to work on the request, so that it may be sent again (RFC 9113 §8.7).
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unsent | Self::GoAway { .. } | Self::Reset { reason: Reason::REFUSED_STREAM })
    }

    /// The code that was received or sent, if one was.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Protocol { reason, .. } | Self::Reset { reason } | Self::GoAway { reason } => Some(*reason),
            Self::Unsent
            | Self::HeadTooLarge { .. }
            | Self::Ended
            | Self::GivenUp
            | Self::Io(_)
            | Self::Silent
            | Self::Unread => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// An error code (RFC 9113 §7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The protocol was broken in a way that has no code of its own.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something went wrong on the side that says so.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the window allowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame came for a stream that was closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame had the wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was refused before any work on it.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is no longer needed.
    pub const CANCEL: Self = Self(0x8);
    /// A header block could not be decoded.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection of a CONNECT request broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not safe enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// HTTP/1.1 is asked for.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match usize::try_from(self.0).ok().and_then(|code| names.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ends the connection: GOAWAY says the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fatal {
    pub(super) reason: Reason,
    pub(super) what: &'static str,
}

impl Fatal {
    pub(super) fn protocol(what: &'static str) -> Self {
        Self { reason: Reason::PROTOCOL_ERROR, what }
    }

    pub(super) fn size(what: &'static str) -> Self {
        Self { reason: Reason::FRAME_SIZE_ERROR, what }
    }

    pub(super) fn calm(what: &'static str) -> Self {
        Self { reason: Reason::ENHANCE_YOUR_CALM, what }
    }

    pub(super) fn flow(what: &'static str) -> Self {
        Self { reason: Reason::FLOW_CONTROL_ERROR, what }
    }
}

impl From<Fatal> for Error {
    fn from(Fatal { reason, what }: Fatal) -> Self {
        Self::Protocol { reason, what }
    }
}
