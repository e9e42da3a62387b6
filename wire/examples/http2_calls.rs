//! What a gRPC unary call costs a proxy: a client and an echo server of ours, and a proxy between them, all in one task or, with
//! `direct`, without the proxy; the difference is the proxy's. `http2_calls COUNT [direct]`, under callgrind.

use std::future::pending;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use outrigger_wire::http2::{self, Incoming, Sender, Settings};
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let count: u32 = args.next().map_or(Ok(1_000), |count| count.parse())?;
    let direct = args.next().is_some();

    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = TcpListener::bind("127.0.0.1:0").await?;
    let address = if direct { origin.local_addr()? } else { proxy.local_addr()? };
    let (to_origin, to_proxy) = (origin.local_addr()?, proxy);
    tokio::spawn(async move {
        let (io, _) = origin.accept().await?;
        io.set_nodelay(true)?;
        http2::serve(io, &Settings::default(), answer, pending()).await?;
        Ok::<_, Error>(())
    });
    if !direct {
        tokio::spawn(async move {
            let sender = dial::<Incoming>(to_origin).await?;
            let (io, _) = to_proxy.accept().await?;
            io.set_nodelay(true)?;
            http2::serve(io, &Settings::default(), |request| forward(&sender, request), pending()).await?;
            Ok::<_, Error>(())
        });
    }

    let sender = dial::<Full<Bytes>>(address).await?;
    for call in 0..count {
        let request = Request::post("http://orders.shop.svc.cluster.local:8080/orders.v1.Orders/Get")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "grpc-go/1.85.0")
            .header("grpc-accept-encoding", "gzip")
            .header("grpc-timeout", "999m")
            .header("x-request-id", format!("{call:032x}"))
            .header("traceparent", format!("00-{call:032x}-00f067aa0ba902b7-01"))
            .body(Full::new(Bytes::from_static(&[0; 128])))?;
        let response = {
            let (head, body) = request.into_parts();
            sender.send(&head, body).await?
        };
        let body = response.into_body().collect().await?;
        if body.trailers().is_none_or(|trailers| trailers.get("grpc-status").is_none()) {
            return Err("no grpc-status".into());
        }
    }
    Ok(())
}

async fn dial<B>(address: std::net::SocketAddr) -> Result<Sender<B>, Error>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    let (sender, driver) = http2::connect(io, &Settings::default());
    tokio::spawn(driver);
    Ok(sender)
}

async fn forward(sender: &Sender<Incoming>, request: Request<Incoming>) -> Response<Incoming> {
    let (head, body) = request.into_parts();
    match sender.send(&head, body).await {
        Ok(response) => response,
        Err(error) => std::panic::panic_any(error),
    }
}

async fn answer(
    request: Request<Incoming>,
) -> Response<impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin> {
    let data = request.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Ok(Frame::data(data)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
