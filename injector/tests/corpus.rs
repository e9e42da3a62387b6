//! Pods of many shapes, and what becomes of each: `corpus/NAME.yaml` and `corpus/NAME.patched.yaml`.
//! `OUTRIGGER_BLESS=1 cargo test -p outrigger-injector` writes the latter anew; read the difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outrigger_injector::{Injected, MetricsFrom, Outcome, ProbeSecret, Settings, inject};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn every_shape_becomes_what_was_read_and_found_right() {
    let bless = std::env::var_os("OUTRIGGER_BLESS").is_some();
    let shapes = shapes();
    assert!(shapes.len() >= 40, "{} shapes", shapes.len());
    let mut differ = Vec::new();
    for shape in &shapes {
        let golden = shape.with_extension("patched.yaml");
        let text = written(&inject(&read(shape), &settings(), &ProbeSecret::fixed("s3cret")));
        if bless {
            fs::write(&golden, &text).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if let Some(line) = expected.lines().chain([""]).zip(text.lines().chain([""])).position(|(is, was)| is != was) {
            differ.push(format!("{}:{}", golden.display(), line + 1));
        }
    }
    assert!(differ.is_empty(), "not as before (OUTRIGGER_BLESS=1 writes them anew):\n{}", differ.join("\n"));
}

#[test]
fn what_was_injected_is_left_alone() {
    for shape in shapes() {
        let Outcome::Injected(once) = inject(&read(&shape), &settings(), &ProbeSecret::fixed("s3cret")) else {
            continue;
        };

        let twice = inject(&once.pod, &settings(), &ProbeSecret::fixed("s3cret"));

        assert!(matches!(&twice, Outcome::Skipped(skip) if skip.reason() == "AlreadyInjected"), "{}", shape.display());
    }
}

#[test]
fn the_patch_makes_the_pod_that_was_decided() {
    for shape in shapes() {
        let pod = read(&shape);
        let Outcome::Injected(injected) = inject(&pod, &settings(), &ProbeSecret::fixed("s3cret")) else { continue };
        // The API server never sends a pod without metadata.
        if pod.get("metadata").is_none() {
            continue;
        }

        let mut patched = pod.clone();
        apply(&mut patched, &injected.json_patch(&pod));

        assert_eq!(patched, injected.pod, "{}", shape.display());
    }
}

#[test]
fn nothing_of_the_application_changes() {
    for shape in shapes() {
        let pod = read(&shape);
        let Outcome::Injected(injected) = inject(&pod, &settings(), &ProbeSecret::fixed("s3cret")) else { continue };
        keeps_the_application(&pod, &injected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the API server or a file may hold: no panic, and once is enough.
    #[test]
    fn any_document_is_decided(pod in any_pod()) {
        if let Outcome::Injected(once) = inject(&pod, &settings(), &ProbeSecret::fixed("s3cret")) {
            keeps_the_application(&pod, &once);
            prop_assert!(matches!(inject(&once.pod, &settings(), &ProbeSecret::fixed("s3cret")), Outcome::Skipped(_)));
            let mut patched = pod.clone();
            if pod["metadata"].is_object() {
                apply(&mut patched, &once.json_patch(&pod));
                prop_assert_eq!(patched, once.pod);
            }
        }
    }
}

/// Its containers, its own init containers in their order behind ours, its own volumes.
fn keeps_the_application(pod: &Value, injected: &Injected) {
    let list = |of: &Value, name: &str| of["spec"][name].as_array().cloned().unwrap_or_default();
    let after = &injected.pod;
    let containers = |of: &Value| list(of, "containers").into_iter().map(but_for_probes).collect::<Vec<_>>();
    assert_eq!(containers(after), containers(pod));
    let inits = list(after, "initContainers");
    let names: Vec<&str> = inits.iter().take(2).filter_map(|init| init["name"].as_str()).collect();
    assert_eq!(names, ["outrigger-init", "outrigger-sidecar"]);
    let own: Vec<Value> = list(pod, "initContainers").into_iter().map(but_for_probes).collect();
    assert_eq!(inits[2..].iter().cloned().map(but_for_probes).collect::<Vec<_>>(), own);
    assert!(list(after, "volumes").starts_with(&list(pod, "volumes")));
    assert_eq!(after["metadata"]["labels"], pod["metadata"]["labels"]);
    let unique: BTreeSet<String> = list(after, "volumes").iter().map(|volume| volume["name"].to_string()).collect();
    let own: BTreeSet<String> = list(pod, "volumes").iter().map(|volume| volume["name"].to_string()).collect();
    assert_eq!(unique.len(), own.len() + 2, "names of ours are new");
}

/// Where the kubelet asks may change; how often and how long may not.
fn but_for_probes(mut container: Value) -> Value {
    for handler in ["/startupProbe", "/livenessProbe", "/readinessProbe", "/lifecycle/postStart", "/lifecycle/preStop"]
    {
        if let Some(handler) = container.pointer_mut(handler).and_then(Value::as_object_mut) {
            handler.retain(|kind, _| !["httpGet", "tcpSocket", "grpc"].contains(&kind.as_str()));
        }
    }
    container
}

/// What a golden file holds.
fn written(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Skipped(skip) => format!("# {}: {skip}\n", skip.reason()),
        Outcome::Injected(injected) => {
            let warnings: String = injected.warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect();
            format!("{warnings}{}", serde_saphyr::to_string(&injected.pod).unwrap())
        }
    }
}

/// `add` of whole members is all that our patches use (RFC 6902, 4.1).
fn apply(document: &mut Value, patch: &Value) {
    for operation in patch.as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, member) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[member] = operation["value"].clone();
    }
}

fn any_pod() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["app", "outrigger-sidecar", "outrigger-state", "outrigger-token", "x", ""]);
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![0_i64, 4140, 4143, -1]).prop_map(Value::from),
        name.prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "name",
        "image",
        "ports",
        "containerPort",
        "securityContext",
        "runAsUser",
        "resources",
        "limits",
        "os",
        "env",
        "config.outrigger.io/cpu-limit",
        "outrigger.io/inject",
        "readinessProbe",
        "tcpSocket",
        "port",
        "annotations",
    ]);
    let value = scalar.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    });
    let list = || {
        prop::option::of(prop_oneof![prop::collection::vec(value.clone(), 0..4).prop_map(Value::from), value.clone()])
    };
    let lists = (list(), list(), list(), list(), value.clone(), value.clone());
    lists.prop_map(|(containers, inits, volumes, annotations, security, resources)| {
        let mut pod = json!({"spec": {"securityContext": security, "resources": resources}});
        let parts = [("containers", containers), ("initContainers", inits), ("volumes", volumes)];
        for (name, part) in parts.into_iter().filter_map(|(name, part)| Some((name, part?))) {
            pod["spec"][name] = part;
        }
        if let Some(annotations) = annotations {
            pod["metadata"] = json!({"annotations": annotations});
        }
        pod
    })
}

fn shapes() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut shapes: Vec<PathBuf> = paths.filter(|path| !path.to_string_lossy().ends_with(".patched.yaml")).collect();
    shapes.sort();
    shapes
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(&text, options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn settings() -> Settings {
    Settings {
        image: "outrigger/sidecar:1.2.3".into(),
        pull_policy: Some("IfNotPresent".into()),
        control_plane: "outrigger-control-plane.outrigger-system.svc:4180".into(),
        trust_domain: "mesh.local".into(),
        trust_anchors: "-----BEGIN CERTIFICATE-----\nanchor\n-----END CERTIFICATE-----\n".into(),
        otlp: None,
        metrics: MetricsFrom::default(),
    }
}
