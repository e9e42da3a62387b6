//! Copies bytes both ways. A connection that has nothing to say holds no buffer: what is read goes through the
//! thread's own buffer straight to the other side, and only what the other side does not take is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Reset;

/// Bytes read at once: several TLS records, and few enough to stay in the cache.
const CHUNK: usize = 128 * 1024;

/// Chunks copied before others get their turn.
const TURNS: usize = 8;

/// A side that takes no more bytes has said all that it will ever say, and the system has it: this is a bound, and no time to wait.
const LAST_WORDS: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// A direction of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the first stream to the second.
    There,
    /// From the second to the first.
    Back,
}

/// Copies both ways until both sides have ended. One side's end is passed on and the other goes on (half-close).
/// `see` is shown every chunk before it is written, so that long connections are seen while they live; its error ends the connection.
///
/// # Errors
/// The first error of either side, or of `see`. Both then end with a reset when they are dropped: bytes that were cut off must not look like all there was, neither to an app
/// nor, as TLS without `close_notify`, to a peer's sidecar. What a side said before it took no more bytes arrives: it may say why.
pub(crate) async fn copy<A, B>(
    a: &mut A,
    b: &mut B,
    mut see: impl FnMut(Way, &[u8]) -> io::Result<()>,
) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Reset + Unpin,
    B: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let mut there = OneWay::default();
    let mut back = OneWay::default();
    let copied = poll_fn(|cx| {
        let first = there.poll(cx, a, b, |bytes| see(Way::There, bytes));
        let first = first.map_err(|broken| (Way::There, broken))?;
        let second = back.poll(cx, b, a, |bytes| see(Way::Back, bytes));
        let second = second.map_err(|broken| (Way::Back, broken))?;
        ready!(first);
        ready!(second);
        Poll::Ready(Ok(()))
    })
    .await;
    let Err((way, broken)) = copied else { return Ok(()) };
    if let Broken::Writer(_) = broken {
        let last_words = poll_fn(|cx| match way {
            Way::There => back.poll_last_words(cx, b, a, |bytes| see(Way::Back, bytes)),
            Way::Back => there.poll_last_words(cx, a, b, |bytes| see(Way::There, bytes)),
        });
        // Rare, and no part of every connection's future.
        let _ = Box::pin(tokio::time::timeout(LAST_WORDS, last_words)).await;
    }
    a.reset_when_dropped();
    b.reset_when_dropped();
    Err(broken.into())
}

/// Which side of a direction failed.
#[derive(Debug)]
enum Broken {
    Reader(io::Error),
    Writer(io::Error),
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Reader(error) | Broken::Writer(error) => error,
        }
    }
}

/// One direction.
#[derive(Default)]
struct OneWay {
    /// What the other side did not take, from `kept_from` on.
    kept: Vec<u8>,
    kept_from: usize,
    /// Written but not flushed: TLS may hold records back.
    unflushed: bool,
    /// What the reader failed with behind bytes that had to be passed on first: a socket tells its error once.
    failed: Option<io::ErrorKind>,
    end: End,
}

#[derive(Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Read,
    Passed,
}

impl OneWay {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut see: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURNS {
            ready!(self.poll_write_kept(cx, writer))?;
            match self.end {
                End::Passed => return Poll::Ready(Ok(())),
                End::Read => {
                    ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Broken::Writer)?;
                    self.end = End::Passed;
                    return Poll::Ready(Ok(()));
                }
                End::Open => {}
            }
            let step = SCRATCH.with_borrow_mut(|scratch| self.poll_chunk(cx, reader, writer, scratch, &mut see));
            match step {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broken::Writer)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        // A fast pair must not starve the thread's other connections.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Passes on what there is to read, up to the end or an error, and neither of these.
    fn poll_last_words<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        mut see: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_write_kept(cx, writer))?;
            let step = match self.end {
                End::Open => SCRATCH.with_borrow_mut(|scratch| self.poll_chunk(cx, reader, writer, scratch, &mut see)),
                End::Read | End::Passed => Poll::Ready(Err(Broken::Reader(io::ErrorKind::UnexpectedEof.into()))),
            };
            if let Poll::Ready(Ok(())) = step {
                continue;
            }
            ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Broken::Writer)?;
            return step;
        }
    }

    /// Reads and writes what was read.
    fn poll_chunk<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        scratch: &mut [u8],
        see: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if let Some(kind) = self.failed.take() {
            return Poll::Ready(Err(Broken::Reader(kind.into())));
        }
        let mut buffer = ReadBuf::new(scratch);
        // TLS gives one record at a time: gather what is there, so that it leaves in one write.
        let mut pending = false;
        while buffer.remaining() >= 16 * 1024 {
            let before = buffer.filled().len();
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                    self.end = End::Read;
                    break;
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(Broken::Reader(error)));
                }
                Poll::Ready(Err(error)) => {
                    self.failed = Some(error.kind());
                    break;
                }
                Poll::Pending => {
                    pending = true;
                    break;
                }
            }
        }
        let filled = buffer.filled();
        if filled.is_empty() {
            return if pending { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        see(filled).map_err(Broken::Reader)?;
        let mut written = 0;
        while written < filled.len() {
            match Pin::new(&mut *writer).poll_write(cx, &filled[written..]).map_err(Broken::Writer)? {
                Poll::Ready(0) => return Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(n) => written += n,
                Poll::Pending => {
                    self.kept.extend_from_slice(&filled[written..]);
                    break;
                }
            }
        }
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_write_kept<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<Result<(), Broken>>
    where
        W: AsyncWrite + Unpin,
    {
        while self.kept_from < self.kept.len() {
            let kept = &self.kept[self.kept_from..];
            match ready!(Pin::new(&mut *writer).poll_write(cx, kept)).map_err(Broken::Writer)? {
                0 => return Poll::Ready(Err(Broken::Writer(io::ErrorKind::WriteZero.into()))),
                n => self.kept_from += n,
            }
        }
        if self.kept_from > 0 {
            // Given back: most connections are idle most of the time.
            self.kept = Vec::new();
            self.kept_from = 0;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
impl Reset for tokio::io::DuplexStream {
    // It has an end and no reset.
    fn reset_when_dropped(&self) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn copied<A, B>(mut a: A, mut b: B) -> io::Result<()>
    where
        A: AsyncRead + AsyncWrite + Reset + Unpin,
        B: AsyncRead + AsyncWrite + Reset + Unpin,
    {
        copy(&mut a, &mut b, |_, _| Ok(())).await
    }

    #[tokio::test]
    async fn carries_all_bytes_both_ways_and_passes_each_end_on() {
        let (mut client, a) = duplex(1000);
        let (mut server, b) = duplex(700);
        let copying = tokio::spawn(copied(a, b));
        let data: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();

        let expected = data.clone();
        let serve = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            assert!(got == expected, "bytes differ");
            // The client has ended its side; the server may still answer.
            server.write_all(b"bye").await.unwrap();
            server.shutdown().await.unwrap();
        });
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();

        serve.await.unwrap();
        assert_eq!(answer, b"bye");
        copying.await.unwrap().unwrap();
    }

    /// Two ends of a connection.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn a_reset_of_one_side_reaches_the_other_as_a_reset() {
        let ((client, a), (mut server, b)) = (connected().await, connected().await);
        let copying = tokio::spawn(copied(a, b));
        server.write_all(b"half of an answer").await.unwrap();
        let mut half = [0; 17];
        let mut client = client;
        client.read_exact(&mut half).await.unwrap();

        server.set_zero_linger().unwrap();
        drop(server);

        let end = client.read(&mut half).await;
        assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "half looks like the whole");
        assert!(copying.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_reset_right_behind_bytes_is_no_end_of_them() {
        let ((client, a), (mut server, b)) = (connected().await, connected().await);
        let mut client = client;
        client.write_all(b"half").await.unwrap();
        a.readable().await.unwrap();
        client.set_zero_linger().unwrap();
        drop(client);
        // Both are there when the first look is taken.
        a.ready(tokio::io::Interest::ERROR).await.unwrap();
        let copying = tokio::spawn(copied(a, b));

        let mut heard = Vec::new();
        let end = server.read_to_end(&mut heard).await;

        assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "half looks like the whole");
        assert!(copying.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn what_a_side_said_before_it_took_no_more_arrives_before_the_reset() {
        let ((mut client, a), (mut server, mut b)) = (connected().await, connected().await);
        client.write_all(b"more than the server takes").await.unwrap();
        b.write_all(b"unread").await.unwrap();
        server.readable().await.unwrap();
        server.write_all(b"too much").await.unwrap();
        // Closed with something unread, a socket sends a reset.
        drop(server);
        b.ready(tokio::io::Interest::ERROR).await.unwrap();

        let copying = tokio::spawn(copied(a, b));

        let mut heard = Vec::new();
        let end = client.read_to_end(&mut heard).await;
        assert_eq!(heard, b"too much");
        assert!(end.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "it looks like the whole");
        assert!(copying.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn an_idle_pair_holds_no_buffer() {
        let (_client, mut a) = duplex(10);
        let (_server, mut b) = duplex(10);
        let mut way = OneWay::default();

        poll_fn(|cx| {
            assert!(way.poll(cx, &mut a, &mut b, |_| Ok(())).is_pending());
            Poll::Ready(())
        })
        .await;

        assert_eq!(way.kept.capacity(), 0);
    }
}
