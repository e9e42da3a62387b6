//! What one replica tells another of its sidecars.

use std::time::SystemTime;

use outrigger_identity::Credentials;
use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;
use tonic::{Code, Streaming};

use super::client::ControlPlane;
use super::peer::{Dial, PATIENCE, Sidecar};

const WEB: &str = "service/shop/web/80";

#[tokio::test]
async fn a_control_plane_learns_who_has_acked_which_version_and_a_workload_learns_nothing() {
    let plane = ControlPlane::start().await;
    let workload = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &workload, &["address/10.96.0.1:80"]).await;
    sidecar.commit().await.unwrap();
    let version = sidecar.held[WEB].0;

    let denied = plane.client(Some(&workload)).await.progress(request(&[version])).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let mut answers = ask(&plane, &replica(&plane), &[version, version + 1]).await;

    let first = next(&mut answers).await;
    assert_eq!(first[0], wire::Progress { current: true, subscribed: 1, acked: 0, refused: String::new() });
    assert_eq!(first[1], wire::Progress { current: false, ..first[0].clone() });
    let reason = "no such thing".to_owned();
    sidecar.send(Request::Nack(wire::Nack { key: WEB.to_owned(), version, reason })).await;
    assert_eq!(next(&mut answers).await[0].refused, "shop/web-1: no such thing");
    let resources = vec![wire::Held { key: WEB.to_owned(), version }];
    sidecar.send(Request::Ack(wire::Ack { resources })).await;
    let acked = next(&mut answers).await;
    assert_eq!((acked[0].subscribed, acked[0].acked, &*acked[0].refused), (1, 1, ""));
    assert_eq!(acked[1].acked, 0, "of another version");
    drop(sidecar);
    assert_eq!(next(&mut answers).await[0].subscribed, 0);
}

#[tokio::test]
async fn what_a_returning_sidecar_holds_counts_as_acked() {
    let plane = ControlPlane::start().await;
    let workload = plane.join("shop/web-1").await;
    let roots = ["address/10.96.0.1:80"];
    let mut sidecar = Sidecar::connect(&plane, &workload, &roots).await;
    sidecar.commit().await.unwrap();
    let (version, held) = (sidecar.held[WEB].0, sidecar.held.clone());
    drop(sidecar);
    let _back = Sidecar::resume(&plane, &workload, &roots, held).await;

    let mut answers = ask(&plane, &replica(&plane), &[version]).await;

    loop {
        let answer = next(&mut answers).await;
        if (answer[0].subscribed, answer[0].acked) == (1, 1) {
            break;
        }
    }
}

/// What a replica of this control plane proves who it is with.
fn replica(plane: &ControlPlane) -> Credentials {
    plane.authority().own_credentials(SystemTime::now()).unwrap()
}

async fn ask(plane: &ControlPlane, own: &Credentials, versions: &[u64]) -> Streaming<wire::ProgressResponse> {
    plane.client(Some(own)).await.progress(request(versions)).await.unwrap().into_inner()
}

fn request(versions: &[u64]) -> wire::ProgressRequest {
    let held = |version: &u64| wire::Held { key: WEB.to_owned(), version: *version };
    let carriers = versions.iter().map(|version| wire::Carriers { resources: vec![held(version)] });
    wire::ProgressRequest { carriers: carriers.collect() }
}

async fn next(answers: &mut Streaming<wire::ProgressResponse>) -> Vec<wire::Progress> {
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("no answer came");
    answer.unwrap().expect("the answers ended").progress
}
