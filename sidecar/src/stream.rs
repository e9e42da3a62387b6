//! A connection to an endpoint: its bytes, plain, within mesh TLS or within a tunnel, and what is counted of it.

mod connections;
mod counted;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use outrigger_wire::tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub(crate) use connections::{Connection, Connections, enter};
pub(crate) use counted::Counted;

use crate::admission::Dialled;
use crate::tunnel::Tunnel;

/// A connection whose peer can be made to see that it did not end in good order.
pub(crate) trait Reset {
    /// Has the connection's end be a reset (RST), which loses what the peer has not received yet.
    fn reset_when_dropped(&self);
}

impl Reset for TcpStream {
    fn reset_when_dropped(&self) {
        // Fails only for a socket that has ended already.
        let _ = self.set_zero_linger();
    }
}

impl<I: Reset> Reset for TlsStream<I> {
    fn reset_when_dropped(&self) {
        self.get_ref().reset_when_dropped();
    }
}

impl<I: Reset> Reset for Tunnel<I> {
    fn reset_when_dropped(&self) {
        self.get_ref().reset_when_dropped();
    }
}

/// A connection to an endpoint.
pub(crate) struct Io {
    pub(crate) stream: Stream,
    /// Its place under a limit, unless somebody else holds that.
    counted: Option<Connection>,
    _dialled: Dialled,
}

impl Io {
    pub(crate) fn new(stream: Stream, dialled: Dialled) -> Self {
        Self { stream, counted: None, _dialled: dialled }
    }

    /// Has it keep its place under a limit.
    #[must_use]
    pub(crate) fn counted(mut self, counted: Connection) -> Self {
        self.counted = Some(counted);
        self
    }

    /// Says whether it is a tunnel whose last connection has ended in good order.
    pub(crate) fn is_free_tunnel(&self) -> bool {
        matches!(&self.stream, Stream::Tunnel(tunnel) if tunnel.is_free())
    }

    /// Says whether it is a tunnel that can be used again.
    pub(crate) fn is_open_tunnel(&mut self) -> bool {
        match &mut self.stream {
            Stream::Tunnel(tunnel) => tunnel.is_open(),
            Stream::Plain(_) | Stream::Tls(_) => false,
        }
    }

    /// Whether it is in the clear.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// Bytes written so far, as they are on the wire.
    pub(crate) fn written(&self) -> u64 {
        self.tcp().written()
    }

    /// Says whether the peer has ended its side and has provably taken nothing of what was written after the first `before` bytes.
    pub(crate) fn took_nothing_after(&self, before: u64) -> bool {
        self.tcp().took_nothing_after(before)
    }

    pub(crate) fn tcp_mut(&mut self) -> &mut Counted {
        match &mut self.stream {
            Stream::Plain(io) => io,
            Stream::Tls(io) => io.get_mut(),
            Stream::Tunnel(io) => io.get_mut().get_mut(),
        }
    }

    fn tcp(&self) -> &Counted {
        match &self.stream {
            Stream::Plain(io) => io,
            Stream::Tls(io) => io.get_ref(),
            Stream::Tunnel(io) => io.get_ref().get_ref(),
        }
    }
}

/// What carries its bytes.
pub(crate) enum Stream {
    Plain(Counted),
    Tls(TlsStream<Counted>),
    Tunnel(Tunnel<TlsStream<Counted>>),
}

impl Reset for Io {
    fn reset_when_dropped(&self) {
        match &self.stream {
            Stream::Plain(io) => io.reset_when_dropped(),
            Stream::Tls(io) => io.reset_when_dropped(),
            Stream::Tunnel(io) => io.reset_when_dropped(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tls(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tunnel(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Tls(io) => Pin::new(io).poll_write(cx, buf),
            Stream::Tunnel(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Tunnel(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(io) => io.is_write_vectored(),
            Stream::Tls(io) => io.is_write_vectored(),
            Stream::Tunnel(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(io).poll_flush(cx),
            Stream::Tunnel(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tunnel(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
