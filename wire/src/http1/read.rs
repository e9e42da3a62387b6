//! Reading. Bytes go through the thread's own buffer, and only what has come takes memory: a connection on which nothing happens
//! holds none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Read at once: a head and 64 KiB of body in one system call.
const CHUNK: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Reads what is there and has `with` look at it; returns how much there was, 0 at the end of the stream.
pub(crate) fn poll_read_with<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    with: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        with(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
}
