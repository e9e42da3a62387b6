//! Who gets a leaf, and who does not.

use std::time::{Duration, SystemTime};

use outrigger_identity::{Credentials, KeyPair};
use outrigger_proto::wire;
use tonic::Code;

use super::client::{ControlPlane, SHOP};
use super::peer::{Dial, credentials};

#[tokio::test]
async fn a_token_gives_the_workload_its_identity_and_renewal_keeps_it() {
    let plane = ControlPlane::start().await;

    let first = plane.join("shop/web-1").await;

    assert_eq!(first.peer().identity.as_str(), "spiffe://mesh.local/ns/shop/sa/web");
    assert_eq!(first.peer().workload.as_deref(), Some("web-1"));
    assert_eq!(first.chain().len(), 2);

    let key = KeyPair::generate().unwrap();
    let answer = plane.certify(Some(&first), key.csr().unwrap(), String::new()).await.unwrap();

    assert_eq!(answer.trust_anchors.len(), 1);
    assert_eq!(credentials(&key, answer).peer(), first.peer());
}

async fn refusal(plane: &ControlPlane, token: String) -> (Code, String) {
    let csr = KeyPair::generate().unwrap().csr().unwrap();
    let status = plane.certify(None, csr, token).await.expect_err("a certificate was issued");
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn refuses_a_replayed_token_even_after_a_restart() {
    let plane = ControlPlane::start().await;
    let token = plane.token("shop/web-1");
    let csr = || KeyPair::generate().unwrap().csr().unwrap();
    plane.certify(None, csr(), token.clone()).await.unwrap();

    let (code, message) = refusal(&plane, token.clone()).await;
    assert_eq!(code, Code::PermissionDenied);
    assert!(message.starts_with("token replayed"), "{message}");

    let plane = plane.restart().await;
    let (_, message) = refusal(&plane, token).await;
    assert!(message.starts_with("token replayed"), "{message}");
}

#[tokio::test]
async fn refuses_tokens_that_prove_nothing() {
    let plane = ControlPlane::start().await;
    let other = ControlPlane::start().await;

    for (token, reason) in [
        (String::new(), "no proof of identity"),
        ("rubbish".to_owned(), "token malformed"),
        (other.token("shop/web-1"), "token forged"),
        (plane.token_until("shop/web-1", SystemTime::now() - Duration::from_secs(1)), "token expired"),
        (plane.token("shop/nobody"), "workload unknown"),
        (plane.token("shop/far"), "token from another address"),
    ] {
        let (_, message) = refusal(&plane, token).await;
        assert!(message.starts_with(reason), "{message} instead of {reason}");
    }
    plane.page_with("/metrics", "outrigger_control_certificates_refused_total{reason=\"token forged\"} 1").await;
}

#[tokio::test]
async fn a_broken_request_does_not_use_up_its_token() {
    let plane = ControlPlane::start().await;
    let token = plane.token("shop/web-1");

    let status = plane.certify(None, b"rubbish".to_vec(), token.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("csr invalid"), "{}", status.message());

    plane.certify(None, KeyPair::generate().unwrap().csr().unwrap(), token).await.unwrap();
}

#[tokio::test]
async fn a_workload_that_is_gone_or_another_by_now_does_not_renew() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let csr = || KeyPair::generate().unwrap().csr().unwrap();

    plane.objects.save("shop.yaml", &SHOP.replace("serviceAccountName: web", "serviceAccountName: admin"));
    plane.page_with("/config", "\"snapshot\": 3").await;
    let status = plane.certify(Some(&own), csr(), String::new()).await.unwrap_err();
    assert!(status.message().starts_with("identity changed"), "{}", status.message());

    plane.objects.save("shop.yaml", &SHOP.replace("name: web-1", "name: web-2"));
    plane.page_with("/config", "shop/web-2").await;
    let status = plane.certify(Some(&own), csr(), String::new()).await.unwrap_err();
    assert!(status.message().starts_with("workload unknown"), "{}", status.message());
}

/// Asks for the next leaf; returns it, or what the refusal says.
async fn renew(plane: &ControlPlane, own: &Credentials) -> Result<Credentials, String> {
    let key = KeyPair::generate().unwrap();
    let answer = plane.certify(Some(own), key.csr().unwrap(), String::new()).await;
    answer.map(|answer| credentials(&key, answer)).map_err(|status| {
        assert_eq!(status.code(), Code::PermissionDenied);
        status.message().to_owned()
    })
}

const WEB: &str = "spiffe://mesh.local/ns/shop/sa/web";

#[tokio::test]
async fn a_leaf_renews_only_from_where_its_workload_is() {
    let plane = ControlPlane::start().await;
    let far = plane.signed("spiffe://mesh.local/ns/shop/sa/default", Some("shop/far"), None);

    let refused = renew(&plane, &far).await.unwrap_err();

    assert!(refused.starts_with("leaf from another address: shop/far is at 10.1.0.9"), "{refused}");
    assert!(renew(&plane, &plane.join("shop/web-1").await).await.is_ok());
}

#[tokio::test]
async fn a_leaf_renews_only_for_the_very_workload_that_it_was_issued_to() {
    let plane = ControlPlane::start().await;
    let with_uid = |uid: &str| SHOP.replace("name: web-1,", &format!("name: web-1, uid: {uid},"));
    plane.objects.save("shop.yaml", &with_uid("uid-one"));
    plane.page_with("/config", "\"snapshot\": 3").await;
    let first = plane.join("shop/web-1").await;
    let second = renew(&plane, &first).await.unwrap();
    // Of a control plane that did not write the uid yet: what renews it does.
    let by_name = plane.signed(WEB, Some("shop/web-1"), None);
    let third = renew(&plane, &by_name).await.unwrap();

    plane.objects.save("shop.yaml", &with_uid("uid-two"));
    plane.page_with("/config", "\"snapshot\": 4").await;

    for leaf in [&first, &second, &third] {
        let refused = renew(&plane, leaf).await.unwrap_err();
        assert!(refused.starts_with("workload replaced: shop/web-1 is not the one of uid uid-one"), "{refused}");
    }
    let next = plane.join("shop/web-1").await;
    assert!(renew(&plane, &next).await.is_ok());
}

#[tokio::test]
async fn two_control_planes_do_not_share_a_ca_directory() {
    let plane = ControlPlane::start().await;
    let config =
        outrigger_control_plane::Config::for_folders(plane.objects.path().to_owned(), plane.ca.path().to_owned());

    let error = outrigger_control_plane::start(config, outrigger_daemon::Drain::new()).await.unwrap_err();

    assert!(error.to_string().contains("in use by another control plane"), "{error}");
}

#[tokio::test]
async fn one_address_gets_ten_answers_a_second() {
    let plane = ControlPlane::start().await;
    let client = plane.client(None).await;

    let calls = (0..200).map(|_| {
        let mut client = client.clone();
        async move { client.certify(wire::CertifyRequest::default()).await.unwrap_err() }
    });
    let refusals = futures_util::future::join_all(calls).await;

    let limited = refusals.iter().filter(|status| status.code() == Code::ResourceExhausted).count();
    assert!(limited > 0, "all were answered");
    assert!(limited <= 190, "{limited} were refused");
}
