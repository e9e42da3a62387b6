//! A body on its way out: asked for more when what it gave is written.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;

use super::frame;
use super::send::{After, Wrote};
use super::state::Shared;
use super::stream::Key;
use crate::cut::{self, BoxError};

/// A body, and what it gave that is not written yet.
#[derive(Debug)]
pub(super) struct Pump<B> {
    body: B,
    pub(super) data: Bytes,
    pub(super) after: After,
}

impl<B: Body<Data = Bytes> + Unpin> Pump<B>
where
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, data: Bytes::new(), after: After::Unknown }
    }

    /// Asks the body for data and for what comes after it: the last data and the end shall be one frame. Behind data that is large
    /// already, nothing is held that would grow old if the peer is slow. Ready when there is something to write that does not wait for
    /// the body.
    pub(super) fn gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while matches!(self.after, After::Unknown) {
            if self.body.is_end_stream() {
                self.after = After::End;
                break;
            }
            if self.data.len() > AHEAD {
                break;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                self.after = After::End;
                break;
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.after = After::Failure(cut::reset_behind(&*error.into()));
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) if self.data.is_empty() => self.data = data,
                Ok(data) => self.after = After::Data(data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.after = After::Trailers(trailers);
                    }
                }
            }
        }
        Poll::Ready(())
    }

    /// Writes what comes of the body until there is no more, or no room for it; ready when the stream needs it no longer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, key: Key) -> Poll<()> {
        loop {
            let gathered = self.gather(cx);
            // Bodies are often woken for nothing.
            if gathered.is_pending() && self.data.is_empty() {
                return Poll::Pending;
            }
            let wrote = shared.lock().write(key, &mut self.data, &mut self.after);
            match wrote {
                Wrote::Over => return Poll::Ready(()),
                Wrote::Blocked | Wrote::Nothing => return Poll::Pending,
                Wrote::All if gathered.is_pending() => return Poll::Pending,
                Wrote::All => {}
            }
        }
    }
}

/// Behind more data than one frame takes what comes next is not asked for.
const AHEAD: usize = frame::MAX_PAYLOAD;
