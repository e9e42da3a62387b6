//! The charts as the real Helm renders them, beside our own rendering: object by object the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::process::Command;

use outrigger_cli::chart::{CRDS, Chart, MESH, Release, values};
use outrigger_tests::peers::helm;
use serde_json::Value;

#[test]
fn renders_the_same_objects_as_helm() {
    if !there() {
        return;
    }
    for settings in [
        &[][..],
        &["ha=true"],
        &["revision=blue"],
        &["image.registry=registry.example.com/mirror", "image.tag=1.2.3", "image.pullSecrets={one,two}"],
        &["podMonitor.enabled=true", "serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus"],
        &["podMonitor.enabled=true", "sidecar.metrics=off"],
        &["networkPolicy.enabled=false", "priorityClassName="],
        &["networkPolicy.monitoringNamespaces={monitoring,other}", "injector.excludeNamespaces={kube-system}"],
        &["controlPlane.replicas=5", "injector.replicas=2", "injector.timeoutSeconds=10"],
        &[
            "controlPlane.podLabels.team=mesh",
            r"controlPlane.podAnnotations.example\.com/on=true-ish",
            r"injector.nodeSelector.kubernetes\.io/arch=arm64",
            "injector.resources.limits.cpu=1",
        ],
        &[
            "inboundMode=strict",
            "egress=deny",
            "leafLifetime=1h",
            "bindAddress=0.0.0.0",
            "trustDomain=prod.example.com",
        ],
    ] {
        compare(MESH, settings);
    }
    compare(CRDS, &[]);
    compare(CRDS, &["keep=true"]);
}

#[test]
fn the_values_file_for_ha_renders_the_same_too() {
    if !there() {
        return;
    }
    let file = helm::charts().join("outrigger/values-ha.yaml");
    let output = template(MESH, &["--values", file.to_str().unwrap()]);
    let changes: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_same(&parse(&output), &MESH.render(&release(), &[changes]).unwrap(), "values-ha.yaml");
}

#[test]
fn helm_lint_is_content() {
    if !there() {
        return;
    }
    for chart in [CRDS, MESH] {
        let output =
            helm::helm().unwrap().args(["lint", "--strict"]).arg(helm::charts().join(chart.name)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn helm_refuses_the_same_values() {
    if !there() {
        return;
    }
    for settings in
        ["controlPlane.replica=3", "inboundMode=lax", "controlPlane.replicas=-1", "injector.timeoutSeconds=60"]
    {
        let output = command(MESH, &["--set", settings]).output().unwrap();
        assert!(!output.status.success(), "helm takes {settings}");
        let changes = values::parse_set(settings).unwrap();
        assert!(MESH.render(&release(), &[changes]).is_err(), "we take {settings}");
    }
}

fn compare(chart: Chart, settings: &[&str]) {
    let mut args = Vec::new();
    for setting in settings {
        args.extend(["--set", setting]);
    }
    let theirs = parse(&template(chart, &args));
    let changes: Vec<Value> = settings.iter().map(|setting| values::parse_set(setting).unwrap()).collect();
    let ours = chart.render(&release(), &changes).unwrap();
    assert!(!ours.is_empty());
    assert_same(&theirs, &ours, &format!("{} {settings:?}", chart.name));
}

fn assert_same(theirs: &[Value], ours: &[Value], what: &str) {
    let (theirs, ours) = (by_name(theirs), by_name(ours));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>(), "{what}");
    for (name, theirs) in &theirs {
        assert_eq!(theirs, &ours[name], "{what}: {name}");
    }
}

fn by_name(objects: &[Value]) -> BTreeMap<String, Value> {
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let named: BTreeMap<_, _> = objects.iter().map(|object| (name(object), object.clone())).collect();
    assert_eq!(named.len(), objects.len(), "two objects have the same name");
    named
}

fn parse(yaml: &str) -> Vec<Value> {
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().flatten().filter(|document| !document.is_null()).collect()
}

fn template(chart: Chart, args: &[&str]) -> String {
    let output = command(chart, args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn command(chart: Chart, args: &[&str]) -> Command {
    let mut command = helm::helm().unwrap();
    command.args(["template", "outrigger"]).arg(helm::charts().join(chart.name));
    command.args(["--namespace", "outrigger-system", "--kube-version", "1.36.3"]).args(args);
    command
}

/// As Helm names itself.
fn release() -> Release {
    Release { name: "outrigger".into(), namespace: "outrigger-system".into(), service: "Helm".into() }
}

/// Whether Helm can be built here: a test that skips itself says so.
fn there() -> bool {
    match helm::helm() {
        Ok(_) => true,
        Err(error) => {
            let required = std::env::var("OUTRIGGER_REQUIRE_PEERS").is_ok_and(|value| value == "1");
            assert!(!required, "{error}");
            eprintln!("SKIPPED: {error}");
            false
        }
    }
}
