//! A sidecar's side of the wire, and the admin pages.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use outrigger_identity::{Credentials, Identity, KeyPair, TrustBundle, control_plane_client_config};
use outrigger_proto::wire;
use outrigger_proto::wire::mesh_client::MeshClient;
use outrigger_proto::wire::sync_request::Message as Request;
use outrigger_proto::wire::sync_response::Message as Response;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub(crate) fn credentials(key: &KeyPair, answer: wire::CertifyResponse) -> Credentials {
    Credentials::new(key, answer.chain.into_iter().map(|der| der.to_vec().into()).collect()).unwrap()
}

/// A control plane that can be dialled.
pub(crate) trait Dial {
    async fn client(&self, own: Option<&Credentials>) -> MeshClient<Channel>;
}

/// Connects from an address of this machine.
pub(crate) async fn connect(
    from: IpAddr,
    address: SocketAddr,
    own: Option<&Credentials>,
    bundle: &TrustBundle,
) -> MeshClient<Channel> {
    let expected: Identity = "spiffe://mesh.local/ns/outrigger-system/sa/outrigger-control-plane".parse().unwrap();
    let tls = Arc::new(control_plane_client_config(own, bundle, &expected).unwrap());
    let connector = tower::service_fn(move |_| {
        let tls = tokio_rustls::TlsConnector::from(tls.clone());
        async move {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            let io = socket.connect(address).await?;
            let io = tls.connect(address.ip().into(), io).await?;
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    let endpoint = Endpoint::from_static("http://control-plane");
    MeshClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

/// Reads an admin page.
pub(crate) async fn page(admin: SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut io = tokio::net::TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Reads an admin page until it says what is expected.
pub(crate) async fn page_with(admin: SocketAddr, path: &str, expected: &str) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let page = page(admin, path).await;
        if page.contains(expected) {
            return page;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path} never said {expected}, but:\n{page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A sidecar's stream, with what it holds.
pub(crate) struct Sidecar {
    requests: mpsc::Sender<wire::SyncRequest>,
    updates: Streaming<wire::SyncResponse>,
    pub(crate) held: BTreeMap<String, (u64, bytes::Bytes)>,
    /// Keys that came with the last commit.
    pub(crate) changed: Vec<String>,
}

impl Sidecar {
    pub(crate) async fn connect(plane: &impl Dial, own: &Credentials, roots: &[&str]) -> Self {
        Self::resume(plane, own, roots, BTreeMap::new()).await
    }

    pub(crate) async fn resume(
        plane: &impl Dial,
        own: &Credentials,
        roots: &[&str],
        held: BTreeMap<String, (u64, bytes::Bytes)>,
    ) -> Self {
        let hello = wire::Hello {
            sidecar_version: "test".to_owned(),
            subscriptions: roots.iter().map(|&root| root.to_owned()).collect(),
            held: held.iter().map(|(key, (version, _))| wire::Held { key: key.clone(), version: *version }).collect(),
            ..wire::Hello::default()
        };
        Self { held, ..Self::greet(plane, own, hello).await }
    }

    async fn greet(plane: &impl Dial, own: &Credentials, hello: wire::Hello) -> Self {
        let (requests, outgoing) = mpsc::channel(16);
        requests.send(request(Request::Hello(hello))).await.unwrap();
        let mut client = plane.client(Some(own)).await;
        let mut updates = client.sync(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let welcome = updates.message().await.unwrap().unwrap().message;
        assert!(matches!(welcome, Some(Response::Welcome(_))), "{welcome:?}");
        Self { requests, updates, held: BTreeMap::new(), changed: Vec::new() }
    }

    /// As [`Sidecar::connect`], of a sidecar that can report.
    pub(crate) async fn connect_reporting(plane: &impl Dial, own: &Credentials) -> Self {
        Self::greet(plane, own, wire::Hello { capabilities: vec!["reports".to_owned()], ..wire::Hello::default() })
            .await
    }

    /// Reads up to the next word on how often to report, in milliseconds.
    pub(crate) async fn observed(&mut self) -> u32 {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.updates.message()).await.expect("nothing was asked");
            if let Some(Response::Observe(observe)) = message.unwrap().unwrap().message {
                return observe.every_ms;
            }
        }
    }

    pub(crate) async fn send(&self, message: Request) {
        self.requests.send(request(message)).await.unwrap();
    }

    pub(crate) async fn subscribe(&self, keys: &[&str]) {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        self.send(Request::Subscribe(wire::Subscribe { keys })).await;
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.held.keys().map(String::as_str).collect()
    }

    /// Reads up to the next commit; returns how many updates that took.
    pub(crate) async fn commit(&mut self) -> Result<usize, Status> {
        self.changed.clear();
        let mut updates = 0;
        loop {
            let message = tokio::time::timeout(PATIENCE, self.updates.message()).await.expect("no update came")?;
            let Some(wire::SyncResponse { message: Some(Response::Update(update)) }) = message else {
                return Err(Status::aborted("the stream ended"));
            };
            updates += 1;
            assert!(prost::Message::encoded_len(&update) <= outrigger_proto::MAX_UPDATE_BYTES);
            for resource in update.resources {
                self.changed.push(resource.key.clone());
                self.held.insert(resource.key, (resource.version, resource.value));
            }
            for key in update.removed {
                assert!(self.held.remove(&key).is_some(), "{key} was not held");
                self.changed.push(key);
            }
            if update.commit {
                return Ok(updates);
            }
        }
    }

    pub(crate) fn decode<M: prost::Message + Default>(&self, key: &str) -> M {
        M::decode(self.held[key].1.clone()).unwrap()
    }
}

fn request(message: Request) -> wire::SyncRequest {
    wire::SyncRequest { message: Some(message) }
}

/// Far more than anything takes, so that only what never comes fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
