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

#[test]
fn probes_of_every_kind_pass_where_plaintext_is_refused() {
    let Some(space) = Space::meshed() else { return };
    let probes = "          startupProbe: {grpc: {port: 8080}, periodSeconds: 1}\n\
                  \x20         livenessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1}\n\
                  \x20         readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}\n";
    let strict = Workload::new("strict").annotations("config.outrigger.io/inbound: strict").container(probes);
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled");

    space.deploy([strict, bare, Workload::new("client")]);

    assert_eq!(space.seen("deployment/client", "http://strict/meshed")["path"], "/meshed");
    let refused = space.exec_command("deployment/bare", ["client", "http://strict/plain"]).output().unwrap();
    assert!(!refused.status.success(), "plaintext came in: {}", String::from_utf8_lossy(&refused.stdout));
    let app = &space.pods("strict")[0]["status"]["containerStatuses"][0];
    assert_eq!((&app["restartCount"], &app["ready"]), (&0.into(), &true.into()));
}
