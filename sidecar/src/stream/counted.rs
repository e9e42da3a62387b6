//! What the peer's system has taken of what was written: it decides whether a request whose connection has ended may be sent again.
//!
//! A server that closes an idle connection just as the next request is written has not seen the request, but a client can only know by what TCP
//! tells. The server's FIN acknowledges all that its system had taken until then (RFC 9293 section 3.8), and after it nothing can be answered, so
//! that nothing more is processed (RFC 9112 section 9.6). A reset tells nothing: what it does not acknowledge may have been read.

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsFd, AsRawFd as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Reset;
use crate::zone::Traffic;

/// A TCP connection that counts what is written.
#[derive(Debug)]
pub(crate) struct Counted {
    io: TcpStream,
    written: u64,
    traffic: Option<&'static Traffic>,
}

impl Counted {
    /// Begins with a connection on which nothing has been written.
    pub(crate) fn new(io: TcpStream) -> Self {
        Self { io, written: 0, traffic: None }
    }

    /// From now on counts for where the endpoint is, too.
    pub(crate) fn count_for(&mut self, traffic: &'static Traffic) {
        self.traffic = Some(traffic);
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Says whether the peer has ended its side and has provably taken nothing of what was written after the first `before` bytes: its system has
    /// acknowledged these, to the byte, and no more.
    pub(crate) fn took_nothing_after(&self, before: u64) -> bool {
        // Linux counts the connection's SYN with the bytes.
        has_ended(&self.io) && self.written > before && acknowledged(&self.io) == Some(before + 1)
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.written += *bytes as u64;
            self.traffic.iter().for_each(|traffic| traffic.sent(*bytes));
        }
        written
    }
}

/// Says whether the peer's FIN has come, and all before it has been read.
fn has_ended(io: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    matches!(SockRef::from(io).peek(&mut byte), Ok(0))
}

/// Returns how many bytes the peer's system has acknowledged; `None` where this one does not say.
#[expect(unsafe_code, reason = "a system call that no crate in use offers")]
fn acknowledged(io: &impl AsFd) -> Option<u64> {
    const AT: usize = offset_of!(libc::tcp_info, tcpi_bytes_acked);
    const END: usize = AT + size_of::<u64>();
    let mut info = [0_u8; END];
    let mut length = END as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, hence open; the system writes at most `length` bytes to `info`, which has as many, and any bytes are valid.
    let failed = unsafe {
        let (descriptor, into) = (io.as_fd().as_raw_fd(), info.as_mut_ptr().cast());
        libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length)
    };
    // Older systems know less, and say how much.
    let known = failed == 0 && length as usize == END;
    known.then(|| u64::from_ne_bytes(std::array::from_fn(|at| info[AT + at])))
}

impl Reset for Counted {
    fn reset_when_dropped(&self) {
        self.io.reset_when_dropped();
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(traffic) = self.traffic.filter(|_| read.is_ready()) {
            traffic.received(buf.filled().len() - before);
        }
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use std::io::{Read as _, Write as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection on which a request of three bytes has been read.
    async fn used() -> (Counted, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Counted::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"one").await.unwrap();
        server.read_exact(&mut [0; 3]).unwrap();
        (client, server)
    }

    async fn ended(client: &mut Counted) {
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_written_after_the_peer_has_closed_has_not_been_taken() {
        let (mut client, server) = used().await;
        drop(server);
        // The FIN is here.
        client.io.readable().await.unwrap();

        client.write_all(b"two").await.unwrap();
        ended(&mut client).await;
        assert!(client.took_nothing_after(3));
        assert!(!client.took_nothing_after(2) && !client.took_nothing_after(4) && !client.took_nothing_after(6));
    }

    #[tokio::test]
    async fn what_the_peer_took_before_it_closed_is_known() {
        let (mut client, mut server) = used().await;
        client.write_all(b"two").await.unwrap();
        server.read_exact(&mut [0; 3]).unwrap();
        drop(server);

        ended(&mut client).await;
        assert!(!client.took_nothing_after(3));
    }

    #[tokio::test]
    async fn a_reset_proves_nothing() {
        let (mut client, server) = used().await;
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        client.io.readable().await.unwrap();

        // The write may fail or not.
        let _ = client.write(b"two").await;
        assert!(!client.took_nothing_after(3));
    }

    #[tokio::test]
    async fn nothing_is_proven_while_the_peer_may_still_answer() {
        let (mut client, _server) = used().await;
        client.write_all(b"two").await.unwrap();
        assert!(!client.took_nothing_after(3));
    }

    #[tokio::test]
    async fn bytes_count_for_where_the_endpoint_is() {
        static THERE: Traffic = Traffic::new();
        let (mut client, mut server) = used().await;

        client.count_for(&THERE);
        client.write_all(b"two").await.unwrap();
        server.write_all(b"three").unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();

        assert_eq!(THERE.counts(), [3, 5], "what came before is nobody's");
    }
}
