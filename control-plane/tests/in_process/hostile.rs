//! What one caller can make the control plane do, and what it cannot take from others.

use std::time::Duration;

use futures_util::future::join_all;
use outrigger_identity::{Credentials, KeyPair};
use outrigger_proto::wire;
use outrigger_proto::wire::mesh_client::MeshClient;
use outrigger_proto::wire::sync_request::Message as Request;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::client::ControlPlane;
use super::peer::{self, Dial, PATIENCE, Sidecar};

const WEB: &str = "spiffe://mesh.local/ns/shop/sa/web";

fn hello(held: Vec<wire::Held>) -> wire::SyncRequest {
    let subscriptions = vec!["mesh".to_owned()];
    let hello = wire::Hello { sidecar_version: "test".to_owned(), subscriptions, held, ..wire::Hello::default() };
    wire::SyncRequest { message: Some(Request::Hello(hello)) }
}

/// A stream; dropping it ends the call.
#[derive(Debug)]
struct Open {
    updates: Streaming<wire::SyncResponse>,
    _requests: mpsc::Sender<wire::SyncRequest>,
}

/// Opens a stream on a connection.
async fn open(client: &mut MeshClient<Channel>, hello: wire::SyncRequest) -> Result<Open, Status> {
    let (requests, outgoing) = mpsc::channel(1);
    requests.send(hello).await.unwrap();
    let mut updates = client.sync(ReceiverStream::new(outgoing)).await?.into_inner();
    tokio::time::timeout(PATIENCE, updates.message()).await.expect("no Welcome came")?;
    Ok(Open { updates, _requests: requests })
}

/// The number that a metric shows.
async fn metric(plane: &ControlPlane, name: &str) -> u64 {
    let page = peer::page(plane.running.admin, "/metrics").await;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[tokio::test]
async fn what_is_asked_for_already_is_not_answered() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &["mesh", "address/10.96.0.1:80"]).await;
    sidecar.commit().await.unwrap();
    let before = metric(&plane, "outrigger_control_updates_total").await;

    for _ in 0..2000 {
        sidecar.subscribe(&[]).await;
        sidecar.subscribe(&["mesh", "address/10.96.0.1:80", "what/is/this"]).await;
        sidecar.send(Request::Unsubscribe(wire::Unsubscribe { keys: vec!["address/10.9.9.9:1".to_owned()] })).await;
    }
    sidecar.subscribe(&["address/9.9.9.9:53"]).await;

    assert_eq!(sidecar.commit().await.unwrap(), 1);
    assert_eq!(sidecar.changed, ["address/9.9.9.9:53"], "the first answer is the one to what is new");
    assert_eq!(metric(&plane, "outrigger_control_updates_total").await, before + 1);
}

#[tokio::test]
async fn a_workload_has_a_few_streams_and_another_of_its_identity_as_many() {
    let plane = ControlPlane::start().await;
    let own = plane.signed(WEB, Some("shop/web-1"), None);

    let mut streams = Vec::new();
    let refused = loop {
        let mut client = plane.client(Some(&own)).await;
        match open(&mut client, hello(Vec::new())).await {
            Ok(stream) => streams.push((stream, client)),
            Err(status) => break status,
        }
    };

    assert_eq!((streams.len(), refused.code()), (12, Code::ResourceExhausted));
    assert_eq!(refused.message(), "shop/web-1: at most 12 streams at a time");
    let other = plane.signed(WEB, Some("shop/web-2"), None);
    assert!(open(&mut plane.client(Some(&other)).await, hello(Vec::new())).await.is_ok());
    drop(streams.pop());
    let again = async {
        while open(&mut plane.client(Some(&own)).await, hello(Vec::new())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the place was not given back");
}

#[tokio::test]
async fn a_workload_has_a_few_connections_and_is_told_so() {
    let plane = ControlPlane::start().await;
    let own = plane.signed(WEB, Some("shop/web-1"), None);
    let mut connections = Vec::new();
    for _ in 0..16 {
        let mut client = plane.client(Some(&own)).await;
        // Not before its handshake is over at the other end, too.
        client.certify(wire::CertifyRequest::default()).await.unwrap_err();
        connections.push(client);
    }

    let mut client = plane.client(Some(&own)).await;
    let refused = open(&mut client, hello(Vec::new())).await.unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "shop/web-1: at most 16 connections at a time");
}

#[tokio::test]
async fn what_a_hello_claims_to_hold_counts_only_until_it_is_looked_at() {
    let plane = ControlPlane::start().await;
    let own = plane.signed(WEB, Some("shop/web-1"), None);
    let mut client = plane.client(Some(&own)).await;
    // Names that nobody has: more than half of what may be held for a workload.
    let held = |stream: usize| {
        let name = |number: usize| format!("service/{}/{stream}-{number}-{}/80", "n".repeat(60), "s".repeat(40));
        (0..28_000).map(|number| wire::Held { key: name(number), version: 1 }).collect::<Vec<_>>()
    };

    let mut streams = Vec::new();
    for stream in 0..4 {
        let mut open = open(&mut client, hello(held(stream))).await.unwrap();
        let mut gone = 0;
        while gone < 28_000 {
            let message = open.updates.message().await.unwrap().unwrap().message;
            let Some(wire::sync_response::Message::Update(update)) = message else { panic!("{message:?}") };
            gone += update.removed.len();
        }
        streams.push(open);
    }
    plane.page_with("/sidecars", "\"resources\": 1,").await;
}

#[tokio::test]
async fn two_hundred_replicas_of_one_identity_come_back_at_once() {
    let plane = ControlPlane::start().await;
    let authority = plane.authority();
    let replicas: Vec<Credentials> =
        (0..200).map(|number| plane.signed_by(&authority, WEB, Some(&format!("shop/web-{number}")), None)).collect();

    let back = replicas.iter().map(|own| async {
        let mut sidecar = Sidecar::connect(&plane, own, &["mesh", "address/10.96.0.1:80"]).await;
        sidecar.commit().await.unwrap();
        sidecar
    });
    let sidecars = join_all(back).await;

    assert!(sidecars.iter().all(|sidecar| sidecar.keys().len() == 4));
}

#[tokio::test]
async fn strangers_that_say_nothing_do_not_keep_a_sidecar_from_its_certificate() {
    let plane = ControlPlane::start().await;
    let mut strangers = Vec::new();
    for _ in 0..1000 {
        strangers.push(TcpStream::connect(plane.running.listen).await.unwrap());
    }
    // Some have come further, and are no nearer to anything.
    let anonymous = join_all((0..20).map(|_| plane.client(None))).await;

    let own = plane.join("shop/web-1").await;

    let mut sidecar = Sidecar::connect(&plane, &own, &["mesh"]).await;
    sidecar.commit().await.unwrap();
    assert!(metric(&plane, "outrigger_control_connections_shed_total").await >= 1000 - 512);
    let first = tokio::time::timeout(PATIENCE, strangers[0].read(&mut [0])).await;
    assert!(matches!(first, Ok(Ok(0) | Err(_))), "{first:?}");
    drop(anonymous);
}

#[tokio::test]
async fn a_proved_connection_is_not_shed_for_strangers() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &["mesh"]).await;
    sidecar.commit().await.unwrap();

    let mut strangers = Vec::new();
    for _ in 0..1500 {
        strangers.push(TcpStream::connect(plane.running.listen).await.unwrap());
    }
    plane.join("shop/web-1").await;

    sidecar.subscribe(&["address/9.9.9.9:53"]).await;
    assert_eq!(sidecar.commit().await.unwrap(), 1);
}

#[tokio::test]
async fn a_request_for_a_certificate_is_read_up_to_its_limit() {
    let plane = ControlPlane::start().await;
    for (csr, token) in [(1 << 20, 0), (0, 1 << 20), (41 << 10, 0)] {
        let status = plane.certify(None, vec![0x30; csr], "a".repeat(token)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
    let status = plane.certify(None, vec![0x30; 20 << 10], "a".to_owned()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let csr = KeyPair::generate().unwrap().csr().unwrap();
    assert!(plane.certify(None, csr, plane.token("shop/web-1")).await.is_ok());
}

#[tokio::test]
async fn a_loud_workload_uses_up_its_own_certificates_and_no_others() {
    let plane = ControlPlane::start().await;
    let (loud, quiet) = (plane.join("shop/web-1").await, plane.signed(WEB, Some("shop/web-2"), None));
    let client = plane.client(Some(&loud)).await;

    let calls = (0..500).map(|_| {
        let mut client = client.clone();
        async move { client.certify(wire::CertifyRequest::default()).await.unwrap_err() }
    });
    let (refused, quiet) =
        tokio::join!(join_all(calls), plane.certify(Some(&quiet), b"no request".to_vec(), String::new()));

    let limited = "too many requests: at most 10 requests for a certificate a second and workload";
    assert!(refused.iter().any(|status| status.message() == limited), "{:?}", refused.last());
    // The same address, and yet it was looked at.
    assert_eq!(quiet.unwrap_err().code(), Code::InvalidArgument);
}
