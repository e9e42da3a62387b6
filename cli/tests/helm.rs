//! The charts as the real Helm renders them, beside our own rendering: object by object the same.
//!
//! Helm is the Go module that `tests/cluster/go/helm` pins, built into the cache on first use. Without a Go the tests skip themselves
//! and say so; with `OUTRIGGER_REQUIRE_HELM=1`, which root and CI set, they fail instead.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_cli::chart::{CRDS, Chart, MESH, Release, values};
use serde_json::Value;

#[test]
fn renders_the_same_objects_as_helm() {
    let Some(helm) = helm() else { return };
    for settings in [
        &[][..],
        &["ha=true"],
        &["revision=blue"],
        &["image.registry=registry.example.com/mirror", "image.tag=1.2.3", "image.pullSecrets={one,two}"],
        &["podMonitor.enabled=true", "serviceMonitor.enabled=true", "serviceMonitor.labels.release=prometheus"],
        &["networkPolicy.enabled=false", "priorityClassName="],
        &["networkPolicy.monitoringNamespaces={monitoring,other}", "injector.excludeNamespaces={kube-system}"],
        &["controlPlane.replicas=5", "injector.replicas=2", "injector.timeoutSeconds=10"],
        &[
            "controlPlane.podLabels.team=mesh",
            r"controlPlane.podAnnotations.example\.com/on=true-ish",
            r"injector.nodeSelector.kubernetes\.io/arch=arm64",
            "injector.resources.limits.cpu=1",
        ],
        &["inboundMode=strict", "egress=deny", "leafLifetime=1h", "bindAddress=[::]", "trustDomain=prod.example.com"],
    ] {
        compare(&helm, MESH, settings);
    }
    compare(&helm, CRDS, &[]);
    compare(&helm, CRDS, &["keep=true"]);
}

#[test]
fn the_values_file_for_ha_renders_the_same_too() {
    let Some(helm) = helm() else { return };
    let file = charts().join("outrigger/values-ha.yaml");
    let output = template(&helm, MESH, &["--values", file.to_str().unwrap()]);
    let changes: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_same(&parse(&output), &MESH.render(&release(), &[changes]).unwrap(), "values-ha.yaml");
}

#[test]
fn helm_lint_is_content() {
    let Some(helm) = helm() else { return };
    for chart in [CRDS, MESH] {
        let output = Command::new(&helm).args(["lint", "--strict"]).arg(charts().join(chart.name)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn helm_refuses_the_same_values() {
    let Some(helm) = helm() else { return };
    for settings in
        ["controlPlane.replica=3", "inboundMode=lax", "controlPlane.replicas=-1", "injector.timeoutSeconds=60"]
    {
        let output = command(&helm, MESH, &["--set", settings]).output().unwrap();
        assert!(!output.status.success(), "helm takes {settings}");
        let changes = values::parse_set(settings).unwrap();
        assert!(MESH.render(&release(), &[changes]).is_err(), "we take {settings}");
    }
}

fn compare(helm: &Path, chart: Chart, settings: &[&str]) {
    let mut args = Vec::new();
    for setting in settings {
        args.extend(["--set", setting]);
    }
    let theirs = parse(&template(helm, chart, &args));
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

fn template(helm: &Path, chart: Chart, args: &[&str]) -> String {
    let output = command(helm, chart, args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn command(helm: &Path, chart: Chart, args: &[&str]) -> Command {
    let mut command = Command::new(helm);
    command.args(["template", "outrigger"]).arg(charts().join(chart.name));
    command.args(["--namespace", "outrigger-system", "--kube-version", "1.36.3"]).args(args);
    command
}

/// As Helm names itself.
fn release() -> Release {
    Release { name: "outrigger".into(), namespace: "outrigger-system".into(), service: "Helm".into() }
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts")
}

/// The real Helm, built once.
fn helm() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let helm = target.join(format!("helm-{}", pinned_version()));
    if !helm.is_file() {
        let lock = std::fs::File::create(target.join("helm.lock")).unwrap();
        lock.lock().unwrap();
        if !helm.is_file() {
            let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/go/helm");
            let go = std::env::var_os("OUTRIGGER_GO").unwrap_or_else(|| "go".into());
            let unfinished = target.join("helm.unfinished");
            let mut build = Command::new(go);
            build.current_dir(module).args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"]);
            let built = build.arg(&unfinished).arg("helm.sh/helm/v3/cmd/helm").status();
            if !built.is_ok_and(|status| status.success()) {
                let required = std::env::var_os("OUTRIGGER_REQUIRE_HELM").is_some();
                assert!(!required, "cannot build Helm: is there a Go that is new enough?");
                eprintln!("skipped: Helm cannot be built without Go");
                return None;
            }
            std::fs::rename(unfinished, &helm).unwrap();
        }
    }
    Some(helm)
}

fn pinned_version() -> String {
    let module = include_str!("../../tests/cluster/go/helm/go.mod");
    let version = module.lines().find_map(|line| line.trim().strip_prefix("helm.sh/helm/v3 "));
    version.unwrap().split_whitespace().next().unwrap().to_owned()
}
