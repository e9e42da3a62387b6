//! What one worker of the load does again and again, by the shape of the load.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Shape;
use super::connection::Connection;
use crate::echo::{DOWNLOAD, ECHO, MESSAGE, MIB, UPLOAD};

/// Somebody who asks.
pub(crate) enum Client {
    Http1(Connection),
    Http1Fresh { target: SocketAddr, request: Rc<[u8]> },
    Unary { calls: http2::SendRequest<Full<Bytes>>, uri: Rc<str> },
    Stream(Box<Stream>),
    Bytes(TcpStream),
    BytesFresh(SocketAddr),
    Upload { io: TcpStream, chunk: Rc<[u8]> },
    Download { io: TcpStream, buffer: Vec<u8> },
}

/// An open call of both directions.
pub(crate) struct Stream {
    send: mpsc::Sender<Bytes>,
    answer: Incoming,
    unread: usize,
}

/// Opens the connections, and returns who asks on them: several share one where the protocol lets them.
pub(crate) async fn open(
    shape: Shape,
    target: SocketAddr,
    connections: usize,
    request: &Rc<[u8]>,
) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        match shape {
            Shape::Http1 => clients.push(Client::Http1(Connection::open(target, request.clone()).await?)),
            Shape::Http1Fresh => clients.push(Client::Http1Fresh { target, request: request.clone() }),
            Shape::Grpc => {
                let calls = http2_connection(target).await?;
                let uri: Rc<str> = format!("http://{target}/bench.Echo/Unary").into();
                clients.extend((0..STREAMS).map(|_| Client::Unary { calls: calls.clone(), uri: uri.clone() }));
            }
            Shape::GrpcStream => {
                let calls = http2_connection(target).await?;
                for _ in 0..STREAMS {
                    clients.push(Client::Stream(Box::new(Stream::open(calls.clone(), target).await?)));
                }
            }
            Shape::Bytes => clients.push(Client::Bytes(tcp(target, ECHO).await?)),
            Shape::BytesFresh => clients.push(Client::BytesFresh(target)),
            Shape::Upload => {
                clients.push(Client::Upload { io: tcp(target, UPLOAD).await?, chunk: vec![b'x'; MIB].into() });
            }
            Shape::Download => {
                clients.push(Client::Download { io: tcp(target, DOWNLOAD).await?, buffer: vec![0; 256 << 10] });
            }
        }
    }
    Ok(clients)
}

impl Client {
    /// One request and its whole answer, or one MiB.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        match self {
            Self::Http1(connection) => connection.ask().await,
            Self::Http1Fresh { target, request } => Connection::open(*target, request.clone()).await?.ask().await,
            Self::Unary { calls, uri } => unary(calls, uri).await,
            Self::Stream(stream) => stream.ask().await,
            Self::Bytes(io) => echo(io).await,
            Self::BytesFresh(target) => echo(&mut tcp(*target, ECHO).await?).await,
            Self::Upload { io, chunk } => io.write_all(chunk).await.context("write"),
            Self::Download { io, buffer } => {
                let mut left = MIB;
                while left > 0 {
                    let want = left.min(buffer.len());
                    let n = io.read(&mut buffer[..want]).await.context("read")?;
                    ensure!(n > 0, "closed before the MiB was complete");
                    left -= n;
                }
                Ok(())
            }
        }
    }
}

/// Calls that are open at once on one connection.
const STREAMS: usize = 32;

async fn tcp(target: SocketAddr, role: u8) -> Result<TcpStream> {
    let mut io = TcpStream::connect(target).await.with_context(|| format!("connect {target}"))?;
    io.set_nodelay(true)?;
    io.write_all(&[role]).await.context("write")?;
    Ok(io)
}

async fn echo(io: &mut TcpStream) -> Result<()> {
    io.write_all(&[b'm'; MESSAGE]).await.context("write")?;
    let mut answer = [0; MESSAGE];
    io.read_exact(&mut answer).await.context("read")?;
    ensure!(answer == [b'm'; MESSAGE], "another answer came");
    Ok(())
}

async fn http2_connection<B>(target: SocketAddr) -> Result<http2::SendRequest<B>>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let io = TcpStream::connect(target).await.with_context(|| format!("connect {target}"))?;
    io.set_nodelay(true)?;
    let (calls, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.context("HTTP/2")?;
    tokio::spawn(connection);
    Ok(calls)
}

fn message() -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + MESSAGE);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(MESSAGE).unwrap_or_default());
    frame.put_bytes(b'm', MESSAGE);
    frame.freeze()
}

fn call<B>(uri: &str, body: B) -> Result<Request<B>> {
    let request = Request::post(uri)
        .header("content-type", HeaderValue::from_static("application/grpc"))
        .header("te", HeaderValue::from_static("trailers"))
        .header("user-agent", HeaderValue::from_static("outrigger-bench/1"));
    request.body(body).context("make a call")
}

async fn unary(calls: &mut http2::SendRequest<Full<Bytes>>, uri: &str) -> Result<()> {
    calls.ready().await.context("HTTP/2")?;
    let answer = calls.send_request(call(uri, Full::new(message()))?).await.context("call")?;
    ensure!(answer.status() == 200, "answered {}", answer.status());
    let body = answer.into_body().collect().await.context("read")?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    ensure!(status.as_ref().is_some_and(|status| status == "0"), "ended with grpc-status {status:?}");
    ensure!(body.to_bytes().len() == 5 + MESSAGE, "another message came");
    Ok(())
}

/// A body whose messages come from a channel.
struct Messages(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Messages {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

impl Stream {
    async fn open(mut calls: http2::SendRequest<Messages>, target: SocketAddr) -> Result<Self> {
        let (send, messages) = mpsc::channel(1);
        calls.ready().await.context("HTTP/2")?;
        let answer = calls.send_request(call(&format!("http://{target}/bench.Echo/Stream"), Messages(messages))?);
        let answer = answer.await.context("call")?;
        ensure!(answer.status() == 200, "answered {}", answer.status());
        Ok(Self { send, answer: answer.into_body(), unread: 0 })
    }

    async fn ask(&mut self) -> Result<()> {
        self.send.send(message()).await.context("the stream is gone")?;
        self.unread += 5 + MESSAGE;
        while self.unread > 0 {
            let frame = self.answer.frame().await.context("the stream ended")?.context("read")?;
            let data = frame.into_data().ok().context("the stream ended with trailers")?;
            self.unread = self.unread.checked_sub(data.len()).context("more came than was sent")?;
        }
        Ok(())
    }
}
