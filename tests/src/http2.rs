//! A client of HTTP/2 with prior knowledge, on one connection: hyper's, which heeds GOAWAY as clients do.

use std::io;
use std::sync::mpsc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_sandbox::Namespace;

/// One connection, on a thread of its own.
#[derive(Debug)]
pub struct Http2 {
    asks: tokio::sync::mpsc::UnboundedSender<Ask>,
}

#[derive(Debug)]
enum Ask {
    Get(String, mpsc::Sender<Result<(u16, Bytes), String>>),
    IsClosed(mpsc::Sender<bool>),
}

impl Http2 {
    /// Connects from `namespace` to `IP:PORT`.
    ///
    /// # Errors
    /// When nobody answers, or not in HTTP/2.
    ///
    /// # Panics
    /// When the system gives no thread.
    pub fn connect(namespace: &Namespace, address: &str) -> io::Result<Self> {
        let (asks, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let (connected, result) = mpsc::channel();
        let address = address.to_owned();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async move {
                let opened = async {
                    let stream = tokio::net::TcpStream::connect(&address).await?;
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)
                };
                let (mut sender, connection) = match opened.await {
                    Ok(opened) => opened,
                    Err(error) => return drop(connected.send(Err(error))),
                };
                // How it ended shows in what is asked of it.
                let driver = tokio::spawn(async { drop(connection.await) });
                drop(connected.send(Ok(())));
                while let Some(ask) = asked.recv().await {
                    match ask {
                        Ask::Get(path, answer) => {
                            drop(answer.send(get(&mut sender, &format!("http://{address}{path}")).await))
                        }
                        Ask::IsClosed(answer) => {
                            // What has come meanwhile is read first.
                            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                            // Who asked may have gone.
                            let _ = answer.send(sender.is_closed() || driver.is_finished());
                        }
                    }
                }
            });
        };
        drop(namespace.spawn(serve)?);
        result.recv().map_err(io::Error::other)??;
        Ok(Self { asks })
    }

    /// Sends a GET; the answer's status and body.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn get(&self, path: &str) -> Result<(u16, Bytes), String> {
        let (answer, answered) = mpsc::channel();
        self.asks.send(Ask::Get(path.to_owned(), answer)).map_err(|error| error.to_string())?;
        answered.recv().map_err(|error| error.to_string())?
    }

    /// Whether the server has said that it goes away, or the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let (answer, answered) = mpsc::channel();
        self.asks.send(Ask::IsClosed(answer)).is_err() || answered.recv().unwrap_or(true)
    }
}

async fn get(sender: &mut http2::SendRequest<Full<Bytes>>, url: &str) -> Result<(u16, Bytes), String> {
    let request = Request::get(url).body(Full::default()).map_err(|error| error.to_string())?;
    let told = |error: hyper::Error| format!("{error:?}");
    sender.ready().await.map_err(told)?;
    let response = sender.send_request(request).await.map_err(told)?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await.map_err(told)?.to_bytes()))
}
