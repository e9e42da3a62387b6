//! The handshake of either side.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Conn;
use super::{TlsStream, tls_error};

/// Makes a TLS connection over `io` as the client, to the server that must prove to be `name`.
///
/// # Errors
/// When TLS fails the inner error is a [`rustls::Error`], and the peer is told by an alert if `io` takes it at once.
pub async fn connect<I: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    io: I,
) -> io::Result<TlsStream<I>> {
    let conn = UnbufferedClientConnection::new(config, name).map_err(tls_error)?;
    shake_hands(TlsStream::new(Conn::Client(conn), io)).await
}

/// Makes a TLS connection over `io` as the server.
///
/// # Errors
/// When TLS fails the inner error is a [`rustls::Error`], and the peer is told by an alert if `io` takes it at once.
pub async fn accept<I: AsyncRead + AsyncWrite + Unpin>(config: Arc<ServerConfig>, io: I) -> io::Result<TlsStream<I>> {
    let conn = UnbufferedServerConnection::new(config).map_err(tls_error)?;
    shake_hands(TlsStream::new(Conn::Server(conn), io)).await
}

async fn shake_hands<I: AsyncRead + AsyncWrite + Unpin>(mut stream: TlsStream<I>) -> io::Result<TlsStream<I>> {
    // A client speaks first.
    let (_, started) = stream.conn.process(&mut [], stream.outgoing.tail(), |_| {});
    started.map_err(tls_error)?;
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    Ok(stream)
}

impl<I: AsyncRead + AsyncWrite + Unpin> TlsStream<I> {
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = match self.poll_send_kept(cx)? {
                Poll::Ready(()) => Pin::new(&mut self.io).poll_flush(cx)?,
                Poll::Pending => Poll::Pending,
            };
            if !self.conn.common().is_handshaking() {
                // A client's last flight is what the server waits for. A server's are session tickets, which a client reads when it
                // likes: they may leave with the first answer.
                return if self.conn.is_client() { sent.map(Ok) } else { Poll::Ready(Ok(())) };
            }
            // Also while the peer takes nothing: it may wait for us to read. What we owe it is bounded by the handshake.
            // No room: the first plaintext that comes with the end of the handshake is kept.
            ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        }
    }
}
