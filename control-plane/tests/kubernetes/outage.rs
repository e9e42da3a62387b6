//! An API server that goes away and comes back.

use outrigger_proto::wire;
use serde_json::json;

use super::api::{Namespace, kubeconfig};
use super::peer::Sidecar;
use super::plane::ControlPlane;
use super::proxy::Proxy;

#[tokio::test]
async fn an_outage_changes_nothing_and_what_happened_meanwhile_is_found_out() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "outage").await;
    let proxy = Proxy::new(&kubeconfig).await;
    let plane = ControlPlane::start(&proxy.kubeconfig, &namespace).await;
    let own = plane.join(&namespace, "client").await;
    namespace.service("web", json!({"ports": [{"port": 80}]})).await;
    let slice = json!([{"addresses": ["10.2.0.1"], "conditions": {"ready": true}}]);
    namespace.slice("web-a", "web", json!([{"name": "", "port": 80}]), slice).await;
    let service = format!("service/{}/web/80", namespace.name);
    let key = format!("endpoints/{}/web/80/0", namespace.name);
    let mut sidecar = Sidecar::connect(&plane, &own, &[&service]).await;
    let addresses = |sidecar: &Sidecar| -> Vec<String> {
        if !sidecar.held.contains_key(&key) {
            return Vec::new();
        }
        let endpoints: wire::Endpoints = sidecar.decode(&key);
        endpoints.endpoints.into_iter().map(|endpoint| endpoint.address).collect()
    };
    while addresses(&sidecar) != ["10.2.0.1:80"] {
        sidecar.commit().await.unwrap();
    }

    // One that could be good: for any other the API server would not be asked.
    let uid = namespace.pod("late", "127.0.0.1", true).await;
    let token = namespace.token("outrigger", Some(("late", &uid))).await;

    proxy.set(false);
    plane.page_with("/config", "cannot watch EndpointSlice").await;

    // Everything is still served, even to a newcomer.
    let mut late = Sidecar::connect(&plane, &own, &[&service]).await;
    late.commit().await.unwrap();
    assert_eq!(addresses(&late), ["10.2.0.1:80"]);
    let renewed = plane.certify("127.0.0.1", Some(&own), String::new()).await;
    assert!(renewed.is_ok(), "a leaf is renewed without the API server");
    let status = plane.certify("127.0.0.1", None, token).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");

    // What goes and comes meanwhile.
    let moved = json!({"endpoints": [{"addresses": ["10.2.0.2"], "conditions": {"ready": true}}]});
    namespace.merge("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", "web-a", moved).await;
    let since = tokio::time::Instant::now();
    proxy.set(true);
    while addresses(&sidecar) != ["10.2.0.2:80"] {
        sidecar.commit().await.unwrap();
    }
    assert!(since.elapsed().as_secs() < 8, "{:?}", since.elapsed());
    namespace.finish().await;
}
