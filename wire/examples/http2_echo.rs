//! An HTTP/2 server that gives back what it gets, for h2spec and load generators: `http2_echo ADDRESS`.

use std::future::pending;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Full};
use outrigger_wire::http2::{self, Incoming, Settings};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(addr).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        tokio::spawn(async move {
            let echo = |request: Request<Incoming>| async move {
                // Who sends nothing gets something all the same.
                Response::new(if request.body().is_end_stream() {
                    Either::Left(Full::new(Bytes::from_static(b"hello\n")))
                } else {
                    Either::Right(request.into_body())
                })
            };
            if let Err(error) = http2::serve(io, &Settings::default(), echo, pending()).await {
                eprintln!("{error}");
            }
        });
    }
}
