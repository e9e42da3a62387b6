//! Probes mean what they meant without a sidecar.

use std::time::Duration;

use outrigger_tests::cluster::{Space, Workload};

#[test]
fn a_probe_of_a_port_that_nobody_listens_on_fails() {
    let Some(space) = Space::meshed() else { return };
    let kinds = [
        ("tcp", "          readinessProbe: {tcpSocket: {port: 9999}, periodSeconds: 1}\n"),
        ("http", "          readinessProbe: {httpGet: {path: /ready, port: 9999}, periodSeconds: 1}\n"),
        ("grpc", "          readinessProbe: {grpc: {port: 9999}, periodSeconds: 1}\n"),
    ];
    for (name, probe) in kinds {
        space.apply(&Workload::new(name).container(probe).yaml());
    }

    for (name, _) in kinds {
        let app = || space.pods(name).first()?["status"]["containerStatuses"].as_array()?.first().cloned();
        space.eventually("the application runs", || (app()?["started"] == true).then_some(()));
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(app().unwrap()["ready"], false, "{name}: nobody listens there");
        let events = space.text(["get", "events", "-o", "jsonpath={.items[?(@.reason==\"Unhealthy\")].message}"]);
        assert!(events.contains("probe failed"), "{events}");
    }
}
