//! The kubelet's probes of the app. The kubelet has no identity of the mesh, and a captured port accepts connections
//! whether the app listens or not; so the injector points probes here, to a port that is not captured, and the sidecar asks
//! the app what the kubelet would have asked.
//!
//! Only what the pod's own manifest declares can be asked: `OUTRIGGER_PROBES` is written by the injector.

mod ask;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// All probes of a pod, by the path at which the kubelet asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probes {
    by_path: HashMap<String, Probe>,
}

/// What to ask the app.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Probe {
    /// Does it listen?
    Tcp { port: u16 },
    /// GET, with the headers that the kubelet sent.
    Http { port: u16, path: String },
    /// `grpc.health.v1.Health/Check`.
    Grpc { port: u16, service: String },
}

impl Probes {
    /// Answers the kubelet for as long as the process lives.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let probes = Arc::new(self);
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((io, _)) => {
                    let probes = probes.clone();
                    tokio::spawn(async move {
                        probes.connection(io).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed for probes");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, io: TcpStream) {
        // The address that the kubelet dialled is the pod's: the app is asked where it would have been.
        let Ok(address) = io.local_addr() else { return };
        let ip = address.ip().to_canonical();
        let service = service_fn(|request| {
            let probes = self.clone();
            async move { Ok::<_, Infallible>(probes.answer(request, ip).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(5))
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(io), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a probe's connection failed");
        }
    }

    async fn answer(&self, request: Request<Incoming>, ip: IpAddr) -> Response<Full<Bytes>> {
        let Some(probe) = self.by_path.get(request.uri().path()) else {
            return told(StatusCode::NOT_FOUND, "the pod has no such probe\n");
        };
        let asked = async {
            match probe {
                Probe::Tcp { port } => ask::tcp(ip, *port).await,
                Probe::Http { port, path } => ask::http(ip, *port, path, request.headers()).await,
                Probe::Grpc { port, service } => ask::grpc(ip, *port, service).await,
            }
        };
        // The kubelet has its own limit, and is gone before this one.
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => told(StatusCode::SERVICE_UNAVAILABLE, &format!("{probe}: {error}\n")),
            Err(_) => told(StatusCode::GATEWAY_TIMEOUT, &format!("{probe}: no answer in time\n")),
        }
    }
}

impl FromStr for Probes {
    type Err = String;

    /// Reads `{"/app/readiness": {"http": {"port": 8080, "path": "/ready"}}, "/app/liveness": {"tcp": {"port": 9090}}}`.
    fn from_str(text: &str) -> Result<Self, String> {
        let written: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let written = written.as_object().ok_or("not an object of probes by path")?;
        let probe = |(path, probe): (&String, &Value)| {
            let probe = Probe::read(probe).ok_or_else(|| format!("{path}: `{probe}` is not a probe"))?;
            Ok((path.clone(), probe))
        };
        Ok(Self { by_path: written.iter().map(probe).collect::<Result<_, String>>()? })
    }
}

impl Probe {
    fn read(written: &Value) -> Option<Self> {
        let (kind, of) = written.as_object()?.iter().next()?;
        let port = of["port"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
        let text = |name: &str| of[name].as_str().map(str::to_owned);
        match kind.as_str() {
            "tcp" => Some(Self::Tcp { port }),
            "http" => Some(Self::Http { port, path: text("path").filter(|path| path.starts_with('/'))? }),
            "grpc" => Some(Self::Grpc { port, service: text("service").unwrap_or_default() }),
            _ => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "the app's port {port}"),
            Self::Http { port, path } => write!(f, "GET {path} of the app's port {port}"),
            Self::Grpc { port, .. } => write!(f, "gRPC health of the app's port {port}"),
        }
    }
}

fn told(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// Connections served at once; a kubelet has one for each probe that runs.
const CONNECTIONS: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
