//! Reports of sidecars, as `/edges` and another replica are told of them.

use std::time::SystemTime;

use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;
use tonic::Code;

use super::client::ControlPlane;
use super::peer::{Dial, PATIENCE, Sidecar};

fn report(sequence: u64, started: u64) -> Request {
    let counters = wire::Counters { started, ..wire::Counters::default() };
    let edge = wire::Edge { backend: "shop/db:80".to_owned(), counters: Some(counters), ..wire::Edge::default() };
    Request::Report(wire::Report { epoch: 7, sequence, elapsed_ms: sequence, edges: vec![edge], complete: true })
}

#[tokio::test]
async fn a_look_has_sidecars_report_and_shows_what_they_have_seen() {
    let plane = ControlPlane::start().await;
    let workload = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect_reporting(&plane, &workload).await;
    let _old = Sidecar::connect(&plane, &workload, &[]).await;

    plane.page_with("/edges/live", r#""edges":[]"#).await;
    assert_eq!(sidecar.observed().await, 2_000);
    sidecar.send(report(1, 1_000)).await;
    sidecar.send(report(2, 1_007)).await;
    sidecar.send(report(2, 1_999)).await; // a number that was there already

    let shown = plane.page_with("/edges/live", r#""started":7,"#).await;
    for part in [
        r#""sidecars":{"capable":1,"connected":2,"reporting":1}"#,
        r#""backend":"shop/db:80""#,
        r#""namespace":"shop""#,
        r#""serviceAccount":"web""#,
        r#""inFlight":1007"#,
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[tokio::test]
async fn another_replica_is_told_what_sidecars_see_and_a_workload_is_not() {
    let plane = ControlPlane::start().await;
    let workload = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect_reporting(&plane, &workload).await;
    let request = wire::ObserveRequest { live: false };

    let denied = plane.client(Some(&workload)).await.observe(request).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let replica = plane.authority().own_credentials(SystemTime::now()).unwrap();
    let mut client = plane.client(Some(&replica)).await;
    let mut answers = client.observe(request).await.unwrap().into_inner();
    assert_eq!(sidecar.observed().await, 10_000);
    sidecar.send(report(1, 3)).await;
    sidecar.send(report(2, 5)).await;

    loop {
        let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("no answer").unwrap().unwrap();
        let Some(observed) = answer.edges.first() else { continue };
        let edge = observed.edge.as_ref().unwrap();
        if edge.counters.as_ref().unwrap().started == 2 {
            assert_eq!(
                (&*observed.namespace, &*observed.service_account, &*edge.backend),
                ("shop", "web", "shop/db:80")
            );
            assert_eq!((answer.capable, answer.reporting), (1, 1));
            break;
        }
    }
}
