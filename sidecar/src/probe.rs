//! The kubelet's probes of the app. The kubelet has no identity of the mesh, and a captured port accepts connections
//! whether the app listens or not; so the injector points probes here, to a port that is not captured, and the sidecar asks
//! the app what the kubelet would have asked.
//!
//! The port is open to the network, and what it asks passes no policy. So nothing but what the pod's own manifest declares can be asked, with
//! the headers that the manifest declares, by who knows the path, which holds a secret of the pod; the answer is a status.
//! `OUTRIGGER_PROBES` is written by the injector.

mod ask;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use outrigger_daemon::{Place, Places, serve_one, text};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

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
    /// GET, with the headers that the manifest declares. For a hook any answer is good, and none is not.
    Http { port: u16, path: String, headers: HeaderMap, is_hook: bool },
    /// `grpc.health.v1.Health/Check`.
    Grpc { port: u16, service: String },
}

impl Probes {
    /// Answers the kubelet for as long as the process lives.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let probes = Arc::new(self);
        let places = Places::new(CONNECTIONS);
        let mut connections = outrigger_daemon::Incoming::new(listener, "probes");
        loop {
            let (io, peer) = connections.accept().await;
            tokio::spawn(probes.clone().connection(io, places.take(peer.ip())));
        }
    }

    async fn connection(self: Arc<Self>, io: TcpStream, place: Place) {
        // The address that the kubelet dialled is the pod's: the app is asked where it would have been.
        let Ok(address) = io.local_addr() else { return };
        let ip = address.ip().to_canonical();
        serve_one(io, place, LIMIT, |request| self.clone().answer(request, ip)).await;
    }

    /// `None`: the kubelet is to see the connection end, as it would have seen the app's.
    async fn answer(self: Arc<Self>, request: Request<Incoming>, ip: IpAddr) -> Option<Response<Full<Bytes>>> {
        let Some(probe) = self.by_path.get(request.uri().path()) else {
            return Some(text(StatusCode::NOT_FOUND, "the pod has no such probe\n"));
        };
        if request.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return Some(refused);
        }
        let asked = async {
            match probe {
                Probe::Tcp { port } => ask::tcp(ip, *port).await,
                Probe::Http { port, path, headers, .. } => {
                    ask::http(ip, *port, path, headers, request.headers().get(USER_AGENT)).await
                }
                Probe::Grpc { port, service } => ask::grpc(ip, *port, service).await,
            }
        };
        // The kubelet has its own limit, and is gone before this one.
        let failed = match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(status)) => return Some(text(status, Bytes::new())),
            Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{probe}: {error}\n")),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, format!("{probe}: no answer in time\n")),
        };
        // A hook fails when there is no answer, and only then.
        (!matches!(probe, Probe::Http { is_hook: true, .. })).then_some(failed)
    }
}

impl FromStr for Probes {
    type Err = String;

    /// Reads `{"/SECRET/app/readiness": {"http": {"port": 8080, "path": "/ready", "headers": [["x-a", "b"]]}}, "/SECRET/app/liveness": {"tcp":
    /// {"port": 9090}}}`.
    fn from_str(text: &str) -> Result<Self, String> {
        let written: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let written = written.as_object().ok_or("not an object of probes by path")?;
        let probe = |(path, probe): (&String, &Value)| {
            // Not the path, which is a secret.
            let probe = Probe::read(probe).ok_or_else(|| format!("`{probe}` is not a probe"))?;
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
            "http" => {
                let path = text("path").filter(|path| path.starts_with('/'))?;
                Some(Self::Http { port, path, headers: headers(&of["headers"])?, is_hook: of["hook"] == true })
            }
            "grpc" => Some(Self::Grpc { port, service: text("service").unwrap_or_default() }),
            _ => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "the app's port {port}"),
            Self::Http { port, path, .. } => write!(f, "GET {path} of the app's port {port}"),
            Self::Grpc { port, .. } => write!(f, "gRPC health of the app's port {port}"),
        }
    }
}

fn headers(written: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for field in written.as_array().into_iter().flatten() {
        let name: HeaderName = field[0].as_str()?.parse().ok()?;
        headers.append(name, HeaderValue::from_str(field[1].as_str()?).ok()?);
    }
    Some(headers)
}

/// Connections at once, of which a kubelet has one for each probe that runs; one more takes the place of another.
const CONNECTIONS: usize = 128;
const LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
