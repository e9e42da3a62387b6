//! AdmissionReviews, pods and their annotations: whatever the pod, it is allowed; what was its own stays as it was, the patch makes what
//! was meant, and a pod that has a sidecar gets no other.

use data_encoding::BASE64;
use outrigger_injector::{ANNOTATIONS, Outcome, ProbeSecret, Settings, fuzzing, inject};
use serde_json::{Value, json};

/// Runs the target: JSON, of a review or of a pod; or lines, each of which is an annotation's value.
///
/// # Panics
/// When a pod loses something, or the API server would refuse the answer.
pub fn run(data: &[u8]) {
    match serde_json::from_slice::<Value>(data) {
        Ok(value) if value.get("request").is_some() => answer(&value),
        Ok(pod) => answer(&json!({"request": {"uid": "u", "object": pod}})),
        Err(_) => answer(&json!({"request": {"uid": "u", "object": annotated(data)}})),
    }
}

/// A pod whose annotations have these values, by turns.
fn annotated(data: &[u8]) -> Value {
    let text = String::from_utf8_lossy(data);
    let values = text.lines().map(Value::from);
    let annotations: serde_json::Map<String, Value> =
        ANNOTATIONS.iter().map(|(name, _)| format!("config.outrigger.io/{name}")).zip(values).collect();
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{
            "name": "app",
            "ports": [{"containerPort": 8080}],
            "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}},
            "lifecycle": {"preStop": {"httpGet": {"path": "/stop", "port": 8080}}},
        }]},
    })
}

fn settings() -> Settings {
    Settings {
        image: "sidecar:1".into(),
        pull_policy: None,
        control_plane: "control-plane:4180".into(),
        trust_domain: "mesh.local".into(),
        trust_anchors: "PEM".into(),
        otlp: None,
        metrics: Default::default(),
    }
}

fn answer(question: &Value) {
    let (settings, secret) = (settings(), ProbeSecret::fixed("s3cret"));
    let Some(answer) = fuzzing::review(question, &settings, &secret) else { return };
    let (pod, response) = (&question["request"]["object"], &answer["response"]);
    assert_eq!((&response["uid"], &response["allowed"]), (&question["request"]["uid"], &json!(true)));
    for warning in response["warnings"].as_array().into_iter().flatten() {
        // The API server cuts longer ones.
        assert!(warning.as_str().is_some_and(|text| text.len() <= 256), "{warning}");
    }
    let Some(patch) = response["patch"].as_str() else { return };
    let patch = BASE64.decode(patch.as_bytes()).expect("a patch in base64");
    let patch: Value = serde_json::from_slice(&patch).expect("a patch in JSON");
    let patched = patched(pod, &patch);
    let Outcome::Injected(injected) = inject(pod, &settings, &secret) else {
        panic!("a patch for a pod that gets none")
    };
    assert_eq!(patched, injected.pod, "the patch makes another pod");
    assert!(matches!(inject(&patched, &settings, &secret), Outcome::Skipped(_)), "a second sidecar");
    kept(pod, &patched);
}

/// RFC 6902, as far as it is used: `add` of members.
fn patched(pod: &Value, patch: &Value) -> Value {
    let mut patched = pod.clone();
    for step in patch.as_array().expect("a list of steps") {
        assert_eq!(step["op"], "add");
        let path = step["path"].as_str().expect("a path");
        let (parent, member) = path.rsplit_once('/').expect("an absolute path");
        let parent = patched.pointer_mut(parent).unwrap_or_else(|| panic!("no parent of {path}"));
        let parent = parent.as_object_mut().unwrap_or_else(|| panic!("the parent of {path} has no members"));
        parent.insert(member.to_owned(), step["value"].clone());
    }
    patched
}

/// What the pod had is still there: its containers in their order, under their names, and all that is not injection's to change.
fn kept(pod: &Value, patched: &Value) {
    for list in ["containers", "initContainers", "volumes"] {
        let names = |pod: &Value| -> Vec<Value> {
            pod["spec"][list].as_array().into_iter().flatten().map(|item| item["name"].clone()).collect()
        };
        let (before, after) = (names(pod), names(patched));
        let mut rest = after.iter();
        assert!(before.iter().all(|name| rest.any(|other| other == name)), "{list}: {before:?} became {after:?}");
    }
    let without = |pod: &Value| {
        let mut pod = pod.clone();
        for path in ["containers", "initContainers", "volumes"] {
            pod["spec"].as_object_mut().map(|spec| spec.remove(path));
        }
        pod.as_object_mut().map(|pod| pod.remove("metadata"));
        pod
    };
    assert_eq!(without(pod), without(patched), "something else is changed");
}
