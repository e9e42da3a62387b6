//! `Programmed` in the status of a route: what sidecars say of it.

use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;
use serde_json::{Value, json};

use super::api::{Namespace, kubeconfig, route_crd};
use super::peer::{PATIENCE, Sidecar};
use super::plane::ControlPlane;

#[tokio::test]
async fn a_route_is_programmed_when_every_subscribed_sidecar_has_acked_its_generation() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "programmed").await;
    let crds =
        namespace.cluster_api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions");
    let crd = serde_json::from_value(route_crd("TLSRoute", "tlsroutes")).unwrap();
    let made = crds.create(&PostParams::default(), &crd).await.is_ok();
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let own = plane.join(&namespace, "client").await;
    namespace.service("web", json!({"ports": [{"port": 443}]})).await;
    let key = format!("service/{}/web/443", namespace.name);
    plane.page_with("/config", &format!("{}/web", namespace.name)).await;
    let mut sidecar = Sidecar::connect(&plane, &own, &[&key]).await;
    sidecar.commit().await.unwrap();
    let routes = namespace.api("gateway.networking.k8s.io/v1", "TLSRoute", "tlsroutes");
    let spec = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "hostnames": ["example.com"],
        "rules": [{"backendRefs": [{"name": "web", "port": 443}]}],
    });
    let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TLSRoute", "spec": spec,
        "metadata": {"name": "r", "namespace": namespace.name}});
    let route: DynamicObject = serde_json::from_value(route).unwrap();
    let created = async {
        while routes.create(&PostParams::default(), &route).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, created).await.expect("the API server does not serve the kind");

    sidecar.commit().await.unwrap();
    let pending = until(&routes, "0 of 1 subscribed sidecars").await;
    assert_eq!((&pending["status"], &pending["reason"]), (&json!("False"), &json!("Pending")), "{pending:#}");
    assert_eq!(pending["observedGeneration"], 1);

    let resources = vec![wire::Held { key: key.clone(), version: sidecar.held[&key].0 }];
    sidecar.send(Request::Ack(wire::Ack { resources })).await;
    let programmed = until(&routes, "1 of 1 subscribed sidecars").await;
    assert_eq!((&programmed["status"], &programmed["reason"]), (&json!("True"), &json!("Programmed")));

    let two =
        json!({"spec": {"rules": [{"backendRefs": [{"name": "web", "port": 443}, {"name": "web", "port": 443}]}]}});
    routes.patch("r", &PatchParams::default(), &Patch::Merge(two)).await.unwrap();
    sidecar.commit().await.unwrap();
    let nack = wire::Nack { key: key.clone(), version: sidecar.held[&key].0, reason: "one is enough".to_owned() };
    sidecar.send(Request::Nack(nack)).await;
    let refused = until(&routes, "one is enough").await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("False"), &json!("Invalid")), "{refused:#}");
    assert_eq!(refused["observedGeneration"], 2);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains(&format!("{}/client: one is enough", namespace.name)), "{message}");

    drop(sidecar);
    let programmed = until(&routes, "no sidecar subscribes").await;
    assert_eq!((&programmed["status"], &programmed["observedGeneration"]), (&json!("True"), &json!(2)));
    routes.delete("r", &DeleteParams::default()).await.unwrap();
    if made {
        crds.delete("tlsroutes.gateway.networking.k8s.io", &DeleteParams::default()).await.unwrap();
    }
    namespace.finish().await;
}

/// The condition, once its message says this.
async fn until(routes: &Api<DynamicObject>, message: &str) -> Value {
    let told = async {
        loop {
            let route = routes.get("r").await.unwrap();
            let conditions = route.data["status"]["parents"][0]["conditions"].as_array().cloned().unwrap_or_default();
            let mut programmed = conditions.into_iter().filter(|condition| condition["type"] == "Programmed");
            let said = |condition: &Value| condition["message"].as_str().is_some_and(|said| said.contains(message));
            if let Some(programmed) = programmed.find(said) {
                return programmed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("Programmed never said {message}"))
}
