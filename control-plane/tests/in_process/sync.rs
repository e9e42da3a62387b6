//! What a sidecar gets, and when.

use std::collections::BTreeMap;

use outrigger_identity::KeyPair;
use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;
use tonic::{Code, Status};

use super::client::{ControlPlane, SHOP};
use super::peer::{Dial, PATIENCE, Sidecar};

const ROOTS: [&str; 3] = ["mesh", "workload/shop/web-1", "address/10.96.0.1:80"];

/// What [`ROOTS`] lead to.
const KEYS: [&str; 5] =
    ["address/10.96.0.1:80", "endpoints/shop/web/80/0", "mesh", "service/shop/web/80", "workload/shop/web-1"];

fn with_port(port: u16) -> String {
    SHOP.replace("targetPort: 8080", &format!("targetPort: {port}"))
}

#[tokio::test]
async fn a_subscription_brings_all_that_it_leads_to_and_an_edit_only_what_changed() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;

    assert_eq!(sidecar.commit().await.unwrap(), 1);

    assert_eq!(sidecar.keys(), KEYS);
    let endpoints: wire::Endpoints = sidecar.decode("endpoints/shop/web/80/0");
    assert_eq!(endpoints.endpoints[0].address, "127.0.0.1:8080");

    plane.objects.save("shop.yaml", &with_port(9090));
    sidecar.commit().await.unwrap();

    assert_eq!(sidecar.changed, ["endpoints/shop/web/80/0", "workload/shop/web-1"]);
    let endpoints: wire::Endpoints = sidecar.decode("endpoints/shop/web/80/0");
    assert_eq!(endpoints.endpoints[0].address, "127.0.0.1:9090");
}

#[tokio::test]
async fn subscriptions_come_and_go() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &["mesh"]).await;
    sidecar.commit().await.unwrap();

    sidecar.subscribe(&["address/10.96.0.1:80", "address/9.9.9.9:53"]).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.held.len(), 5);
    let unknown: wire::Address = sidecar.decode("address/9.9.9.9:53");
    assert_eq!(unknown.target, Some(wire::address::Target::Unknown(wire::Unknown {})));

    let keys = vec!["address/10.96.0.1:80".to_owned()];
    sidecar.send(Request::Unsubscribe(wire::Unsubscribe { keys })).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.keys(), ["address/9.9.9.9:53", "mesh"]);

    // What does not exist is answered, too.
    sidecar.subscribe(&["mesh", "workload/shop/nobody", "what/is/this"]).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.changed, Vec::<String>::new());
}

#[tokio::test]
async fn a_reconnecting_sidecar_gets_only_differences_even_from_a_restarted_control_plane() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;
    sidecar.commit().await.unwrap();
    let held = sidecar.held;

    let plane = plane.restart().await;
    let mut sidecar = Sidecar::resume(&plane, &own, &ROOTS, held.clone()).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.changed, Vec::<String>::new(), "versions mean the same in every process");

    plane.objects.save("shop.yaml", &with_port(9090));
    plane.page_with("/config", "\"snapshot\": 3").await;
    let mut sidecar = Sidecar::resume(&plane, &own, &ROOTS[..2], held).await;
    sidecar.commit().await.unwrap();
    let golden = ["workload/shop/web-1", "address/10.96.0.1:80", "endpoints/shop/web/80/0", "service/shop/web/80"];
    assert_eq!(sidecar.changed, golden, "what is no longer wanted goes");
}

#[tokio::test]
async fn a_bad_file_is_named_and_its_last_good_state_stays() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;
    sidecar.commit().await.unwrap();

    plane.objects.save("shop.yaml", &SHOP.replace("spec: {address: 10.1.0.9}", "spec: {adress: 10.1.0.9}"));
    plane.page_with("/config", "shop.yaml:18:8: unknown field `adress`").await;
    plane.page_with("/metrics", "outrigger_control_source_errors 1").await;
    plane.objects.save(
        "other.yaml",
        "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}",
    );
    sidecar.subscribe(&["address/10.96.0.9:80"]).await;
    while !sidecar.held.contains_key("service/default/x/80") {
        sidecar.commit().await.unwrap();
    }

    assert!(KEYS.iter().all(|key| sidecar.held.contains_key(*key)), "{:?}", sidecar.keys());
}

#[tokio::test]
async fn a_restart_with_a_bad_file_takes_nothing_away() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;
    sidecar.commit().await.unwrap();
    let held = sidecar.held;

    plane.objects.save("shop.yaml", "a: [");
    let plane = plane.restart().await;
    let mut sidecar = Sidecar::resume(&plane, &own, &ROOTS, held).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.keys(), KEYS);
    let status = plane.certify(Some(&own), KeyPair::generate().unwrap().csr().unwrap(), String::new()).await;
    assert!(status.unwrap_err().message().starts_with("not ready"), "its Workload may be in the bad file");

    plane.objects.save("shop.yaml", &with_port(9090));
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.changed, ["endpoints/shop/web/80/0", "workload/shop/web-1"]);
}

#[tokio::test]
async fn a_slow_reader_skips_what_is_outdated() {
    const EDITS: u16 = 40;
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;
    sidecar.commit().await.unwrap();

    // Each difference is larger than what the connection buffers.
    let large = |edit: u16| {
        let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec:\n  \
                     parentRefs: [{group: '', kind: Service, name: web}]\n  \
                     rules: [{matches: [{headers: [{name: a, value: ";
        let value = "x".repeat(200_000);
        format!("{route}{value}{edit}}}]}}], backendRefs: [{{name: web, port: 80}}]}}]\n")
    };
    for edit in 1..=EDITS {
        plane.objects.save("route.yaml", &large(edit));
        plane.page_with("/config", &format!("\"snapshot\": {}", edit + 2)).await;
    }

    let mut commits = 0;
    let last = format!("x{EDITS}");
    loop {
        sidecar.commit().await.unwrap();
        commits += 1;
        let service: wire::Service = sidecar.decode("service/shop/web/80");
        let header = &service.routes.unwrap().rules[0].matches[0].headers[0];
        if matches!(&header.value, Some(wire::value_match::Value::Exact(value)) if value.ends_with(&last)) {
            break;
        }
    }
    assert!(commits < EDITS / 2, "{commits} of {EDITS} differences were queued");
}

#[tokio::test]
async fn acks_and_nacks_are_shown() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;
    sidecar.commit().await.unwrap();
    let page = plane.page_with("/sidecars", "\"waiting\": 5").await;
    assert!(page.contains("\"workload\": \"shop/web-1\""), "{page}");
    assert!(page.contains("\"ackedSnapshot\": 0"), "{page}");

    let held =
        |(key, (version, _)): (&String, &(u64, bytes::Bytes))| wire::Held { key: key.clone(), version: *version };
    let mut resources: Vec<wire::Held> = sidecar.held.iter().map(held).collect();
    let wire::Held { key, version } = resources.remove(0);
    sidecar.send(Request::Ack(wire::Ack { resources })).await;
    sidecar.send(Request::Nack(wire::Nack { key: key.clone(), version, reason: "no such thing".to_owned() })).await;
    let page = plane.page_with("/sidecars", "no such thing").await;
    assert!(page.contains("\"waiting\": 1") && page.contains("\"nacks\": 1"), "{page}");

    sidecar.send(Request::Ack(wire::Ack { resources: vec![wire::Held { key, version }] })).await;
    plane.page_with("/sidecars", "\"ackedSnapshot\": 2").await;
    plane.page_with("/metrics", "outrigger_control_sidecars 1").await;
    drop(sidecar);
    plane.page_with("/metrics", "outrigger_control_sidecars 0").await;
    plane.page_with("/sidecars", "\"sidecars\": []").await;
}

/// Sends the given messages and returns the error that comes of it.
async fn refused(plane: &ControlPlane, messages: Vec<Request>) -> Status {
    let own = plane.join("shop/web-1").await;
    let messages = messages.into_iter().map(|message| wire::SyncRequest { message: Some(message) });
    // The stream of requests stays open: its end is not the reason.
    let requests = futures_util::StreamExt::chain(
        futures_util::stream::iter(messages.collect::<Vec<_>>()),
        futures_util::stream::pending(),
    );
    let mut updates = plane.client(Some(&own)).await.sync(requests).await.unwrap().into_inner();
    loop {
        match tokio::time::timeout(PATIENCE, updates.message()).await.expect("nothing came") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without an error"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn refuses_streams_that_break_the_rules() {
    let plane = ControlPlane::start().await;
    let hello = || Request::Hello(wire::Hello::default());
    let many = (0..5000).map(|number| format!("address/10.0.{}.{}:1", number / 256, number % 256)).collect();
    let subscribe = |keys| Request::Subscribe(wire::Subscribe { keys });

    assert_eq!(refused(&plane, Vec::new()).await.code(), Code::DeadlineExceeded);
    assert_eq!(refused(&plane, vec![subscribe(Vec::new())]).await.code(), Code::InvalidArgument);
    assert_eq!(refused(&plane, vec![hello(), hello()]).await.code(), Code::InvalidArgument);
    assert_eq!(refused(&plane, vec![hello(), subscribe(many)]).await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn needs_a_leaf_of_this_trust_domain() {
    let plane = ControlPlane::start().await;
    let other = ControlPlane::start().await;

    let nobody = plane.client(None).await.sync(futures_util::stream::pending()).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);

    // A leaf of another CA does not come through the handshake; in TLS 1.3 the client learns of it with its first read.
    let stranger = other.join("shop/web-1").await;
    let mut client = plane.client(Some(&stranger)).await;
    let requests = futures_util::stream::pending();
    let refused = tokio::time::timeout(PATIENCE, client.sync(requests)).await.expect("nothing came");
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_stopping_control_plane_tells_its_sidecars() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::resume(&plane, &own, &ROOTS, BTreeMap::new()).await;
    sidecar.commit().await.unwrap();

    plane.running.stop().await;

    assert_eq!(sidecar.commit().await.unwrap_err().code(), Code::Unavailable);
}
