//! The frames of a tunnel: how they look, and what a side makes of those that it receives.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a frame's header: the kind, and the length or value in network order.
pub(super) const HEADER: usize = 4;

/// The caller opens an exchange.
pub(super) const OPEN: u8 = 1;
/// The called side says in the lowest byte of the length whether the app took the connection.
pub(super) const STATUS: u8 = 2;
/// So many bytes follow.
pub(super) const DATA: u8 = 3;
/// The sender has ended its direction of this exchange.
pub(super) const END: u8 = 4;
/// All that follows is bytes, until the connection ends.
pub(super) const REST: u8 = 5;
/// The called side's workload ends: it finishes what it has, and wants nothing more.
pub(super) const LEAVING: u8 = 6;

/// Bytes that may come behind a side's `END` and belong to what follows: the next `OPEN`, or `LEAVING`. Nobody sends more without an answer.
const MAX_EARLY: usize = 2 * HEADER;

/// Makes a header.
pub(super) fn header(kind: u8, value: u32) -> [u8; HEADER] {
    let [_, high, middle, low] = value.to_be_bytes();
    [kind, high, middle, low]
}

/// A frame was received that its sender may not send.
pub(super) fn unexpected(what: &str, sender: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{sender} sent {what} where it may not"))
}

/// A frame between exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Open,
    Status(u8),
    Leaving,
}

/// What is received.
#[derive(Debug, Default)]
pub(super) struct Input {
    state: Receiving,
    /// The start of a header whose rest has not come.
    header: [u8; HEADER],
    header_length: u8,
    /// Bytes of the present [`DATA`] that are still to come.
    left: usize,
    /// What was read behind the end of the exchange.
    early: [u8; MAX_EARLY],
    early_from: u8,
    early_to: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Receiving {
    /// Between exchanges, or the peer has ended its direction.
    #[default]
    Ended,
    Frames,
    Rest,
}

/// What has become of bytes that were decoded in their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// How many bytes of the apps are at the front.
    pub(super) bytes: usize,
    pub(super) is_leaving: bool,
}

impl Input {
    /// An exchange begins.
    pub(super) fn begin(&mut self) {
        self.state = Receiving::Frames;
    }

    /// All that comes is bytes.
    pub(super) fn rest(&mut self) {
        self.state = Receiving::Rest;
    }

    /// Says whether the peer has ended its direction.
    pub(super) fn has_ended(&self) -> bool {
        self.state == Receiving::Ended
    }

    /// Says whether what comes is bytes and nothing else.
    pub(super) fn is_rest(&self) -> bool {
        self.state == Receiving::Rest
    }

    /// Says whether a part of a header has come.
    pub(super) fn is_inside_header(&self) -> bool {
        self.header_length > 0
    }

    /// Says whether more has been received than is known to be of use.
    pub(super) fn has_early(&self) -> bool {
        self.early_from < self.early_to
    }

    /// Takes the headers out of what was received in an exchange; the apps' bytes move to the front.
    ///
    /// # Errors
    /// `InvalidData` when the peer keeps to no order.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> io::Result<Decoded> {
        let mut decoded = Decoded::default();
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.len() - at;
            let count = match self.state {
                Receiving::Ended => return self.keep_early(&bytes[at..]).map(|()| decoded),
                Receiving::Rest => rest,
                Receiving::Frames => rest.min(self.left),
            };
            if count > 0 {
                bytes.copy_within(at..at + count, decoded.bytes);
                decoded.bytes += count;
                at += count;
                self.left = self.left.saturating_sub(count);
                continue;
            }
            let Some((kind, value)) = self.take_header(bytes, &mut at) else { break };
            match kind {
                DATA => self.left = value as usize,
                END => self.state = Receiving::Ended,
                REST => self.state = Receiving::Rest,
                LEAVING => decoded.is_leaving = true,
                _ => return Err(unexpected(&format!("a frame of kind {kind}"), "the peer, within an exchange,")),
            }
        }
        Ok(decoded)
    }

    /// Receives the next frame between exchanges; `None` at the connection's end. Reads no more than that.
    pub(super) fn poll_control<I: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut I,
    ) -> Poll<io::Result<Option<Control>>> {
        loop {
            let mut early = self.early;
            let (mut from, to) = (usize::from(self.early_from), usize::from(self.early_to));
            let header = self.take_header(&early[..to], &mut from);
            self.early_from = from as u8;
            if let Some((kind, value)) = header {
                return Poll::Ready(match kind {
                    OPEN => Ok(Some(Control::Open)),
                    STATUS => Ok(Some(Control::Status(value as u8))),
                    LEAVING => Ok(Some(Control::Leaving)),
                    _ => Err(unexpected(&format!("a frame of kind {kind}"), "the peer, between exchanges,")),
                });
            }
            let mut into = ReadBuf::new(&mut early[..HEADER - usize::from(self.header_length)]);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut into))?;
            let read = into.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(None));
            }
            (self.early, self.early_from, self.early_to) = (early, 0, read as u8);
        }
    }

    /// Takes a header from `bytes`, or what there is of it.
    fn take_header(&mut self, bytes: &[u8], at: &mut usize) -> Option<(u8, u32)> {
        let have = usize::from(self.header_length);
        let count = (HEADER - have).min(bytes.len() - *at);
        self.header[have..have + count].copy_from_slice(&bytes[*at..*at + count]);
        *at += count;
        self.header_length += count as u8;
        if usize::from(self.header_length) < HEADER {
            return None;
        }
        self.header_length = 0;
        let [kind, high, middle, low] = self.header;
        Some((kind, u32::from_be_bytes([0, high, middle, low])))
    }

    fn keep_early(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_EARLY {
            return Err(unexpected("bytes behind its END", "the peer"));
        }
        self.early[..bytes.len()].copy_from_slice(bytes);
        (self.early_from, self.early_to) = (0, bytes.len() as u8);
        Ok(())
    }
}
