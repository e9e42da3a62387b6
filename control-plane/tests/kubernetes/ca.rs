//! The CA that replicas share, and what the holder of the Lease keeps.

use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use super::api::{Namespace, kubeconfig};
use super::peer::PATIENCE;
use super::plane::ControlPlane;

/// Reads an object until it is as expected.
async fn until(namespace: &Namespace, plural: (&str, &str, &str), name: &str, good: impl Fn(&Value) -> bool) -> Value {
    let (version, kind, plural) = plural;
    let api = match kind {
        "MutatingWebhookConfiguration" => namespace.cluster_api(version, kind, plural),
        _ => namespace.api(version, kind, plural),
    };
    let reached = async {
        loop {
            if let Some(object) = api.get_opt(name).await.unwrap()
                && good(&object.data)
            {
                return object.data;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{kind} {name} never was as it should be"))
}

fn text(data: &Value, key: &str) -> String {
    let decoded = data_encoding::BASE64.decode(data["data"][key].as_str().unwrap_or_default().as_bytes()).unwrap();
    String::from_utf8(decoded).unwrap()
}

const SECRETS: (&str, &str, &str) = ("v1", "Secret", "secrets");
const LEASES: (&str, &str, &str) = ("coordination.k8s.io/v1", "Lease", "leases");

#[tokio::test]
async fn replicas_that_start_together_share_one_ca_and_one_of_them_keeps_it() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "ca").await;

    let replica = |name| ControlPlane::replica(&kubeconfig, &namespace, name);
    let (one, two, three) = tokio::join!(replica("one"), replica("two"), replica("three"));

    // Whoever signs, all trust it.
    let leaf = one.join(&namespace, "web-1").await;
    for other in [&two, &three] {
        let renewed = other.certify("127.0.0.1", Some(&leaf), String::new()).await.unwrap();
        assert_eq!(renewed.chain()[1], leaf.chain()[1], "another issuer");
    }
    let held = |lease: &Value| !lease["spec"]["holderIdentity"].as_str().unwrap_or_default().is_empty();
    let lease = until(&namespace, LEASES, "outrigger-issuer", held).await;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap().to_owned();

    // The holder goes: another one takes over without waiting for the Lease to run out.
    let (holding, staying): (Vec<_>, Vec<_>) =
        [("one", one), ("two", two), ("three", three)].into_iter().partition(|(name, _)| *name == holder);
    let since = tokio::time::Instant::now();
    for (_, replica) in holding {
        replica.running.stop().await;
    }
    let other = |lease: &Value| held(lease) && lease["spec"]["holderIdentity"] != holder.as_str();
    until(&namespace, LEASES, "outrigger-issuer", other).await;
    assert!(since.elapsed().as_secs() < 12, "{:?}", since.elapsed());
    drop(staying);
    namespace.finish().await;
}

#[tokio::test]
async fn the_injector_gets_its_certificate_and_its_webhooks_the_trust_anchors() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "injector").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;

    let root = text(&until(&namespace, SECRETS, "outrigger-ca", |_| true).await, "root.pem");
    let bundle = until(&namespace, ("v1", "ConfigMap", "configmaps"), "outrigger-trust-bundle", |_| true).await;
    assert_eq!(bundle["data"]["root.pem"].as_str().unwrap(), root);
    let secret = until(&namespace, SECRETS, "outrigger-injector-tls", |_| true).await;
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(text(&secret, "ca.crt"), root);
    assert_eq!(text(&secret, "tls.crt").matches("BEGIN CERTIFICATE").count(), 2);

    // Webhooks that come later, and some that somebody has changed.
    let webhook = |name: &str| {
        json!({
            "name": format!("{name}.inject.outrigger.io"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "outrigger-injector", "namespace": namespace.name, "path": "/inject"}},
            "objectSelector": {"matchLabels": {"nobody": "has-this"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        })
    };
    let (version, kind, plural) =
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
    let api = namespace.cluster_api(version, kind, plural);
    let object = json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": namespace.name},
        "webhooks": [webhook("namespace"), webhook("pod")],
    });
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let bundle = data_encoding::BASE64.encode(root.as_bytes());
    let filled = |object: &Value| {
        let webhooks = object["webhooks"].as_array().unwrap();
        webhooks.iter().all(|webhook| webhook["clientConfig"]["caBundle"] == bundle.as_str())
    };
    let object = until(&namespace, (version, kind, plural), &namespace.name, filled).await;
    assert_eq!(object["webhooks"][0]["clientConfig"]["service"]["path"], "/inject", "the rest stays");

    api.delete(&namespace.name, &DeleteParams::default()).await.unwrap();
    drop(plane);
    namespace.finish().await;
}

#[tokio::test]
async fn a_trust_anchor_that_an_operator_adds_reaches_everybody() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "anchors").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let root = text(&until(&namespace, SECRETS, "outrigger-ca", |_| true).await, "root.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let both = format!("{root}{}", params.self_signed(&key).unwrap().pem());
    let patch = json!({"data": {"root.pem": data_encoding::BASE64.encode(both.as_bytes())}});

    namespace.merge("v1", "Secret", "secrets", "outrigger-ca", patch).await;

    plane.page_with("/config", "\"trustAnchors\": 2").await;
    let two = |map: &Value| map["data"]["root.pem"].as_str().unwrap_or_default().matches("BEGIN").count() == 2;
    until(&namespace, ("v1", "ConfigMap", "configmaps"), "outrigger-trust-bundle", two).await;
    namespace.finish().await;
}

#[tokio::test]
async fn a_secret_that_somebody_removes_comes_back_with_the_same_ca() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "removed").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let before = until(&namespace, SECRETS, "outrigger-ca", |_| true).await;
    // So that the Lease is held.
    until(&namespace, SECRETS, "outrigger-injector-tls", |_| true).await;

    let secrets = namespace.api("v1", "Secret", "secrets");
    secrets.delete("outrigger-ca", &DeleteParams::default()).await.unwrap();

    let after = until(&namespace, SECRETS, "outrigger-ca", |_| true).await;
    assert_eq!(after["data"], before["data"]);
    drop(plane);
    namespace.finish().await;
}
