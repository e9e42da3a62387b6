//! Which ServiceAccount tokens give a leaf, and which do not.

use kube::api::ListParams;
use tonic::Code;

use super::api::{Namespace, kubeconfig};
use super::peer::PATIENCE;
use super::plane::ControlPlane;

#[tokio::test]
async fn a_bound_token_gives_the_pod_its_identity_and_renewal_ends_with_the_pod() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "certify").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;

    let leaf = plane.join(&namespace, "web-1").await;

    let identity = format!("spiffe://mesh.local/ns/{}/sa/web", namespace.name);
    assert_eq!(leaf.peer().identity.as_str(), identity);
    assert_eq!(leaf.peer().workload.as_deref(), Some("web-1"));

    let renewed = plane.certify("127.0.0.1", Some(&leaf), String::new()).await.unwrap();
    assert_eq!(renewed.peer(), leaf.peer());

    namespace.remove_pod("web-1").await;
    let refused = async {
        loop {
            match plane.certify("127.0.0.1", Some(&leaf), String::new()).await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(150)).await,
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(status.message().starts_with("workload unknown"), "{}", status.message());
    namespace.finish().await;
}

#[tokio::test]
async fn refuses_tokens_that_do_not_prove_who_is_calling() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "refusals").await;
    let other = Namespace::new(&kubeconfig, "other").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let uid = namespace.pod("web-1", "127.9.0.1", true).await;
    let far = namespace.pod("far", "10.1.0.9", true).await;
    let of_other = other.pod("web-1", "10.1.0.10", true).await;
    let gone = namespace.pod("gone", "127.9.0.3", true).await;
    let token_of_gone = namespace.token("outrigger", Some(("gone", &gone))).await;
    namespace.remove_pod("gone").await;
    let good = namespace.token("outrigger", Some(("web-1", &uid))).await;
    let forged = format!("{}x", good.trim_end_matches('x'));

    for (token, reason) in [
        (namespace.token("somebody-else", Some(("web-1", &uid))).await, "token for another audience"),
        (namespace.token("outrigger", None).await, "token of no pod"),
        (token_of_gone, "token refused"),
        (namespace.token("outrigger", Some(("far", &far))).await, "token from another address"),
        (other.token("outrigger", Some(("web-1", &of_other))).await, "token from another address"),
        (forged, "token refused"),
        ("rubbish".to_owned(), "token malformed"),
        (String::new(), "no proof of identity"),
    ] {
        let status = plane.certify("127.9.0.1", None, token).await.expect_err(reason);
        assert!(status.message().starts_with(reason), "{} instead of {reason}", status.message());
        assert!(matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied), "{status:?}");
    }
    plane.page_with("/metrics", "certificates_refused_total{reason=\"token for another audience\"} 1").await;
    assert!(plane.certify("127.9.0.1", None, good).await.is_ok());

    let events = namespace.api("events.k8s.io/v1", "Event", "events");
    let about = format!("regarding.name=web-1,reason=CertificateRefused,regarding.uid={uid}");
    let told = async {
        loop {
            let list = events.list(&ListParams::default().fields(&about)).await.unwrap();
            if let Some(event) = list.items.into_iter().next() {
                return event;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let event = tokio::time::timeout(PATIENCE, told).await.expect("no Event on the pod");
    assert_eq!(event.data["type"], "Warning");
    assert!(event.data["note"].as_str().unwrap().starts_with("token for another audience"), "{:?}", event.data);
    namespace.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn a_pod_of_the_same_name_inherits_neither_a_token_nor_a_leaf() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "again").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let uid = namespace.pod("web-0", "127.0.0.1", true).await;
    let old = namespace.token("outrigger", Some(("web-0", &uid))).await;
    let leaf = plane.certify("127.0.0.1", None, old.clone()).await.unwrap();
    namespace.remove_pod("web-0").await;

    let uid = namespace.pod("web-0", "127.0.0.1", true).await;

    let status = plane.certify("127.0.0.1", None, old).await.expect_err("the old token was accepted");
    // By the API server, or before it is asked: the watch may have told already that the token's pod is gone.
    let refused = ["token refused", "workload unknown"].iter().any(|reason| status.message().starts_with(reason));
    assert!(refused, "{}", status.message());
    let replaced = async {
        loop {
            // Until the watch has told of both, the old one is there, or none.
            match plane.certify("127.0.0.1", Some(&leaf), String::new()).await {
                Err(status) if status.message().starts_with("workload replaced") => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(150)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, replaced).await.expect("the leaf of the pod before was renewed");
    let new = namespace.token("outrigger", Some(("web-0", &uid))).await;
    assert!(plane.certify("127.0.0.1", None, new).await.is_ok());
    namespace.finish().await;
}
