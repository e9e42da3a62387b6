//! What a sidecar's stream brings of the cluster's objects.

use std::collections::BTreeMap;

use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;
use serde_json::json;

use super::api::{Namespace, kubeconfig, route_crd};
use super::peer::{PATIENCE, Sidecar};
use super::plane::ControlPlane;

/// The endpoints of a service's first shard by address, with their identities.
fn endpoints(sidecar: &Sidecar, service: &str) -> BTreeMap<String, wire::Endpoint> {
    let key = format!("endpoints/{service}/0");
    let Some((_, value)) = sidecar.held.get(&key) else { return BTreeMap::new() };
    let endpoints: wire::Endpoints = prost::Message::decode(value.clone()).unwrap();
    endpoints.endpoints.into_iter().map(|endpoint| (endpoint.address.clone(), endpoint)).collect()
}

/// Follows the stream until the endpoints are these.
async fn until(sidecar: &mut Sidecar, service: &str, addresses: &[&str]) {
    let reached = async {
        while endpoints(sidecar, service).keys().map(String::as_str).collect::<Vec<_>>() != addresses {
            sidecar.commit().await.unwrap();
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "{addresses:?} never came");
}

#[tokio::test]
async fn endpoints_follow_slices_and_bear_the_identities_of_their_pods() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "endpoints").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let own = plane.join(&namespace, "client").await;
    namespace.pod("web-1", "10.1.0.1", true).await;
    namespace.pod("web-2", "10.1.0.2", false).await;
    let ports = json!([{"name": "http", "port": 80, "appProtocol": "http"}, {"name": "admin", "port": 9000}]);
    let addresses = namespace.service("web", json!({"ports": ports})).await;
    let pod = |name: &str| json!({"kind": "Pod", "namespace": namespace.name, "name": name});
    let endpoint = |address: &str, name: &str, conditions: serde_json::Value| json!({"addresses": [address], "conditions": conditions, "targetRef": pod(name), "zone": "west"});
    let ports = json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin", "port": 9001}]);
    let listed = json!([
        endpoint("10.1.0.1", "web-1", json!({"ready": true})),
        endpoint("10.1.0.2", "web-2", json!({"ready": true})),
        endpoint("10.1.0.3", "web-3", json!({"ready": true})),
        {"addresses": ["10.2.0.4"], "conditions": {"ready": true}},
        {"addresses": ["10.2.0.5"], "conditions": {"ready": false}},
    ]);
    namespace.slice("web-a", "web", ports, listed).await;
    let (service, admin) = (format!("{}/web/80", namespace.name), format!("{}/web/9000", namespace.name));
    let roots = [format!("address/{}:80", addresses[0]), format!("service/{admin}"), "workload/x/y".to_owned()];
    let roots: Vec<&str> = roots.iter().map(String::as_str).collect();

    let mut sidecar = Sidecar::connect(&plane, &own, &roots).await;
    until(&mut sidecar, &service, &["10.1.0.1:8080", "10.1.0.2:8080", "10.2.0.4:8080"]).await;

    let known = endpoints(&sidecar, &service);
    let identity = format!("spiffe://mesh.local/ns/{}/sa/web", namespace.name);
    let meshed = &known["10.1.0.1:8080"];
    assert_eq!((meshed.identity.as_str(), meshed.workload.as_str()), (identity.as_str(), "web-1"));
    assert_eq!((meshed.zone.as_str(), meshed.protocol()), ("west", wire::Protocol::Http));
    assert_eq!(known["10.1.0.2:8080"].identity, "", "without a sidecar it is dialled in plaintext");
    assert_eq!(known["10.2.0.4:8080"].identity, "", "nobody's pod");
    assert!(endpoints(&sidecar, &admin).contains_key("10.1.0.1:9001"));

    // A pod that was not known yet.
    namespace.pod("web-3", "10.1.0.3", true).await;
    until(&mut sidecar, &service, &["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080", "10.2.0.4:8080"]).await;
    assert_eq!(endpoints(&sidecar, &service)["10.1.0.3:8080"].identity, identity);

    // One goes: it gets nothing as long as another is ready.
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    let slice = |endpoints| json!({"endpoints": endpoints});
    let (kind, plural) = ("EndpointSlice", "endpointslices");
    let both = slice(json!([
        endpoint("10.1.0.1", "web-1", leaving.clone()),
        endpoint("10.1.0.2", "web-2", json!({"ready": true}))
    ]));
    namespace.merge("discovery.k8s.io/v1", kind, plural, "web-a", both).await;
    until(&mut sidecar, &service, &["10.1.0.2:8080"]).await;
    let last = slice(json!([endpoint("10.1.0.1", "web-1", leaving)]));
    namespace.merge("discovery.k8s.io/v1", kind, plural, "web-a", last).await;
    until(&mut sidecar, &service, &["10.1.0.1:8080"]).await;

    namespace.finish().await;
}

#[tokio::test]
async fn a_pod_is_found_by_its_address_and_under_its_name() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "pods").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let own = plane.join(&namespace, "client").await;
    // Of this test alone: other tests see this pod as well.
    namespace.pod("web-0", "10.77.0.1", true).await;
    let key = format!("workload/{}/web-0", namespace.name);
    plane.page_with("/config", &format!("{}/web-0", namespace.name)).await;

    // A pod is known before it has its address, so the first answer may not name it yet.
    let mut sidecar = Sidecar::connect(&plane, &own, &["address/10.77.0.1:8080", &key]).await;
    let named = async {
        loop {
            sidecar.commit().await.unwrap();
            let address: wire::Address = sidecar.decode("address/10.77.0.1:8080");
            if let Some(wire::address::Target::Workload(endpoint)) = address.target {
                return endpoint;
            }
        }
    };
    let endpoint = tokio::time::timeout(PATIENCE, named).await.expect("the address never led to the pod");
    assert_eq!(endpoint.workload, "web-0");
    assert!(endpoint.identity.ends_with("/sa/web"), "{}", endpoint.identity);
    let workload: wire::Workload = sidecar.decode(&key);
    assert_eq!((workload.service_account.as_str(), workload.service_name.as_str()), ("web", "web"));

    namespace
        .merge(
            "v1",
            "Pod",
            "pods",
            "web-0",
            json!({"metadata": {"annotations": {"config.outrigger.io/inbound": "strict"}}}),
        )
        .await;
    sidecar.commit().await.unwrap();
    let workload: wire::Workload = sidecar.decode(&key);
    assert_eq!(workload.mode(), wire::InboundMode::InboundStrict);

    namespace.finish().await;
}

/// What our control plane says of a route's only parent, once a condition has this reason.
async fn status(routes: &Api<DynamicObject>, name: &str, reason: &str) -> serde_json::Value {
    let told = async {
        loop {
            let route = routes.get(name).await.unwrap();
            let parent = route.data["status"]["parents"][0].clone();
            let conditions = parent["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|condition| condition["reason"] == reason) {
                assert_eq!(parent["controllerName"], "outrigger.io/mesh");
                return parent;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("no {reason} in the status of {name}"))
}

/// The route once nobody writes it any more: control planes of tests beside this one have their say, too.
async fn settled(routes: &Api<DynamicObject>, name: &str) -> DynamicObject {
    let unchanged = async {
        loop {
            let before = routes.get(name).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            if routes.get(name).await.unwrap() == before {
                return before;
            }
        }
    };
    tokio::time::timeout(PATIENCE, unchanged).await.unwrap_or_else(|_| panic!("{name} is written again and again"))
}

#[tokio::test]
async fn routes_are_found_when_their_kind_appears_and_a_bad_one_stops_nothing() {
    let Some(kubeconfig) = kubeconfig() else { return };
    let namespace = Namespace::new(&kubeconfig, "routes").await;
    let plane = ControlPlane::start(&kubeconfig, &namespace).await;
    let own = plane.join(&namespace, "client").await;
    namespace.service("web", json!({"ports": [{"port": 80}]})).await;
    let key = format!("service/{}/web/80", namespace.name);
    plane.page_with("/config", &format!("{}/web", namespace.name)).await;
    let mut sidecar = Sidecar::connect(&plane, &own, &[&key]).await;
    sidecar.commit().await.unwrap();
    assert_eq!(sidecar.decode::<wire::Service>(&key).routes, None);

    let crds =
        namespace.cluster_api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions");
    // Of its own making, whatever kinds the cluster has: the API's own would take the unknown field away.
    let _ = crds.delete("tcproutes.gateway.networking.k8s.io", &DeleteParams::default()).await;
    let crd = serde_json::from_value(route_crd("TCPRoute", "tcproutes")).unwrap();
    let made = async {
        while let Err(error) = crds.create(&PostParams::default(), &crd).await {
            eprintln!("{error}"); // the one before goes first
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, made).await.expect("the kind cannot be made");
    let routes = namespace.api("gateway.networking.k8s.io/v1", "TCPRoute", "tcproutes");
    let route = |name: &str, spec: serde_json::Value| {
        let meta = json!({"name": name, "namespace": namespace.name});
        let object =
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": meta, "spec": spec});
        serde_json::from_value(object).unwrap()
    };
    let parents = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let bad = route("bad", json!({"parentRefs": "none"}));
    let good = route("good", json!({"parentRefs": parents, "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}));
    let created = async {
        while routes.create(&PostParams::default(), &bad).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, created).await.expect("the API server does not serve the new kind");
    routes.create(&PostParams::default(), &good).await.unwrap();

    sidecar.commit().await.unwrap();
    let service: wire::Service = sidecar.decode(&key);
    assert_eq!(service.routes.unwrap().rules[0].route.as_ref().unwrap().name, "good");
    let bad = format!("TCPRoute {}/bad: invalid type: string", namespace.name);
    plane.page_with("/config", &bad).await;

    let told = status(&routes, "good", "Accepted").await;
    assert_eq!(told["parentRef"], json!({"group": "", "kind": "Service", "name": "web"}));
    let conditions: Vec<_> =
        told["conditions"].as_array().unwrap().iter().map(|c| (c["type"].as_str(), c["status"].as_str())).collect();
    assert_eq!(conditions[..2], [(Some("Accepted"), Some("True")), (Some("ResolvedRefs"), Some("True"))]);
    let resources = vec![wire::Held { key: key.clone(), version: sidecar.held[&key].0 }];
    sidecar.send(Request::Ack(wire::Ack { resources })).await;
    status(&routes, "good", "Programmed").await;
    let before = settled(&routes, "good").await;
    // A backend that is not there changes the one and not the other, and what did not change is not written.
    let lost =
        route("lost", json!({"parentRefs": parents, "rules": [{"backendRefs": [{"name": "none", "port": 80}]}]}));
    routes.create(&PostParams::default(), &lost).await.unwrap();
    let told = status(&routes, "lost", "BackendNotFound").await;
    assert_eq!(told["conditions"][1]["observedGeneration"], 1, "{told:#}");
    assert_eq!(routes.get("good").await.unwrap(), before);
    routes.delete("lost", &DeleteParams::default()).await.unwrap();
    sidecar.commit().await.unwrap();

    routes.delete("good", &DeleteParams::default()).await.unwrap();
    while sidecar.decode::<wire::Service>(&key).routes.is_some() {
        sidecar.commit().await.unwrap();
    }
    let _ = routes.delete("bad", &DeleteParams::default()).await;
    crds.delete("tcproutes.gateway.networking.k8s.io", &DeleteParams::default()).await.unwrap();
    namespace.finish().await;
}
