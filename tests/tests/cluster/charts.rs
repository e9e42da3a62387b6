//! The charts in a real API server: installed by the real Helm, and what the custom resources refuse.

use std::process::Command;

use outrigger_tests::cluster::{Cluster, Space, succeeds};
use outrigger_tests::peers::helm;

#[test]
fn helm_installs_a_revision_beside_the_mesh_and_takes_it_off_again() {
    let Some(space) = Space::plain() else { return };
    let (cluster, namespace) = (space.cluster(), space.name());
    space.label("pod-security.kubernetes.io/enforce=restricted");
    let revision = format!("revision={namespace}");

    let chart = helm::charts().join("outrigger");
    let set = ["--set", &revision, "--set", "image.pullPolicy=Never"];
    succeeds(helm_for(cluster, namespace).arg("install").arg("blue").arg(chart).args(set).args([
        "--wait",
        "--timeout",
        "120s",
    ]));

    let webhook = format!("outrigger-injector-{namespace}");
    let found = cluster.json(["get", "mutatingwebhookconfigurations", &webhook]);
    assert_eq!(found["webhooks"].as_array().map(Vec::len), Some(4), "{found}");
    let check = cluster.outrigger(["check", "--mesh-namespace", namespace]).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    // Other tests' pods belong to the other mesh: what it says of them is not the point here.
    for fine in ["1/1 replicas ready", "the API server knows its 4 webhooks", "the API server trusts it"] {
        assert!(said.contains(&format!("ok    {fine}")), "{fine}: {said}");
    }

    let refused = cluster.outrigger(["uninstall", "--mesh-namespace", namespace]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "what Helm installed, Helm removes");
    succeeds(helm_for(cluster, namespace).args(["uninstall", "blue", "--wait"]));
    let left = cluster.text(["get", "clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-o", "name"]);
    assert!(!left.contains(namespace), "{left}");
}

#[test]
fn a_workload_that_makes_no_sense_is_refused_with_the_reason() {
    let Some(space) = Space::plain() else { return };
    for (spec, reason) in [
        ("address: 10.0.0.300", "must be an IP address"),
        ("address: 127.0.0.1", "must be an address that other workloads can dial"),
        ("address: 10.0.0.3, serviceAccountName: Not_A_Name", "must be the name of a ServiceAccount"),
        ("address: 10.0.0.3, ports: [{port: 80, name: a}, {port: 81, name: a}]", "two ports have the same name"),
        ("address: 10.0.0.3, ports: [{port: 0}]", "should be greater than or equal to 1"),
    ] {
        let output = space.cluster().applied(&workload(space.name(), spec));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{spec}: {said}");
    }

    space.cluster().apply(&workload(space.name(), "address: \"2001:db8::7\", ports: [{port: 80, name: http}]"));
    let found = space.cluster().json(["-n", space.name(), "get", "owl", "outside"]);
    assert_eq!((&found["spec"]["meshed"], &found["spec"]["serviceAccountName"]), (&true.into(), &"default".into()));
    space.cluster().run(["-n", space.name(), "delete", "owl", "outside"]);
}

fn workload(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: outrigger.io/v1alpha1, kind: Workload, metadata: {{name: outside, namespace: {namespace}}}, spec: {{{spec}}}}}"
    )
}

fn helm_for(cluster: &Cluster, namespace: &str) -> Command {
    let mut command = helm::helm().unwrap();
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["--namespace", namespace]);
    command
}
