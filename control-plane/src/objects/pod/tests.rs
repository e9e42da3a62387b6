//! What is read of pods as an API server sends them.

use super::*;
use crate::objects::{Kind, Object, from_json, read};

/// A pod as the injector leaves it, with much that nobody asks for.
const MESHED: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web-5d9c7b8f6d-x2x7k
  generateName: web-5d9c7b8f6d-
  namespace: shop
  uid: 2f1c6a2e-0c5e-4b1a-9c55-6a1c2f0e9d11
  resourceVersion: '81233'
  creationTimestamp: '2026-11-02T09:12:44Z'
  labels: {app: web, pod-template-hash: 5d9c7b8f6d}
  annotations:
    config.outrigger.io/inbound: strict
    resource.opentelemetry.io/service.name: storefront
    kubectl.kubernetes.io/last-applied-configuration: '{\"much\": \"text\"}'
  managedFields: [{manager: kubelet, operation: Update, fieldsType: FieldsV1, fieldsV1: {}}]
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d9c7b8f6d, uid: a, controller: true}]
spec:
  serviceAccountName: web
  nodeName: node-1
  initContainers:
  - {name: outrigger-init, image: sidecar}
  - {name: outrigger-sidecar, image: sidecar, restartPolicy: Always, ports: [{name: admin, containerPort: 4191}]}
  - {name: cache, image: cache, restartPolicy: Always, ports: [{name: cache, containerPort: 6379}]}
  - {name: migrate, image: web, ports: [{name: once, containerPort: 1}]}
  containers:
  - name: web
    image: web
    ports:
    - {name: http, containerPort: 8080, protocol: TCP}
    - {name: dns, containerPort: 53, protocol: UDP}
    - {containerPort: 9090}
    volumeMounts: [{name: tmp, mountPath: /tmp}]
  tolerations: [{key: a, operator: Exists}]
status:
  phase: Running
  hostIP: 192.168.0.4
  podIP: 10.1.0.7
  podIPs: [{ip: 10.1.0.7}, {ip: 'fd00:1::7'}]
  conditions: [{type: Ready, status: 'True'}]
";

fn pod(yaml: &str) -> Workload {
    match read(yaml).unwrap().objects.remove(0) {
        Object::Pod(pod) => (*pod).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keeps_who_and_where_it_is() {
    let pod = pod(MESHED);

    assert_eq!((&*pod.meta.namespace, &*pod.meta.name), ("shop", "web-5d9c7b8f6d-x2x7k"));
    assert_eq!(&*pod.meta.uid, "2f1c6a2e-0c5e-4b1a-9c55-6a1c2f0e9d11");
    assert_eq!((&*pod.service_account, &*pod.node), ("web", "node-1"));
    assert_eq!(pod.addresses, ["10.1.0.7".parse::<IpAddr>().unwrap(), "fd00:1::7".parse().unwrap()]);
    let ports: Vec<_> = pod.ports.iter().map(|port| (port.name.as_str(), port.port.get())).collect();
    assert_eq!(ports, [("http", 8080), ("", 9090), ("cache", 6379)]);
    let annotations: Vec<_> = pod.meta.annotations.keys().map(String::as_str).collect();
    assert_eq!(annotations, ["config.outrigger.io/inbound", "resource.opentelemetry.io/service.name"]);
}

#[test]
fn knows_a_meshed_pod_and_one_that_has_ended() {
    let bare = MESHED.replace("name: outrigger-sidecar", "name: other");
    let on_host = MESHED.replace("  nodeName: node-1", "  nodeName: node-1\n  hostNetwork: true");
    for (about, yaml, meshed, host_network, ended) in [
        ("meshed", MESHED.to_owned(), true, false, false),
        ("without a sidecar", bare, false, false, false),
        ("on its node's network", on_host, false, true, false),
        ("a Job that is done", MESHED.replace("Running", "Succeeded"), true, false, true),
        ("evicted", MESHED.replace("Running", "Failed"), true, false, true),
        ("on a node that is away", MESHED.replace("Running", "Unknown"), true, false, false),
    ] {
        let pod = pod(&yaml);
        assert_eq!((pod.meshed, pod.host_network, pod.ended), (meshed, host_network, ended), "{about}");
    }
}

#[test]
fn reads_a_pod_that_has_just_been_made() {
    let new = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b, creationTimestamp: null}\nspec: {containers: null}\n";

    let pod = pod(new);

    assert!(pod.addresses.is_empty());
    assert_eq!(&*pod.service_account, "default");
    assert!(!pod.meshed);
}

#[test]
fn a_pod_that_cannot_be_read_says_why() {
    let value = serde_json::json!({"metadata": {"name": "a"}, "spec": {"serviceAccountName": "NOT/A/NAME"}});

    let error = from_json(Kind::Pod, value).unwrap_err().to_string();

    assert!(error.contains("NOT/A/NAME"), "{error}");
}
