//! A pod and the mesh's settings → the same pod with a sidecar. Pure, and idempotent.

mod annotations;
mod containers;
mod probes;
mod secret;
mod skip;

use serde_json::{Map, Value, json};

pub use annotations::ANNOTATIONS;
pub use secret::ProbeSecret;
pub use skip::Skip;

use annotations::Wishes;

/// What a sidecar is told by the mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the sidecar, which the capture needs too.
    pub image: String,
    /// When the kubelet pulls it; `None`: Kubernetes' own default for its tag.
    pub pull_policy: Option<String>,
    /// Where the control plane listens, `HOST:PORT`.
    pub control_plane: String,
    /// The trust domain.
    pub trust_domain: String,
    /// The trust anchors, PEM.
    pub trust_anchors: String,
    /// Where traces go.
    pub otlp: Option<String>,
    /// Who may read the sidecars' metrics, where a pod does not set it.
    pub metrics: MetricsFrom,
}

/// Who may read the metrics of a sidecar.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsFrom {
    /// Clients inside the mesh by mutual TLS, and clients outside in plaintext.
    #[default]
    Everyone,
    /// Clients inside the mesh only.
    Mesh,
    /// No client: the port is closed.
    Off,
}

impl MetricsFrom {
    fn read(text: &str) -> Option<Self> {
        clap::ValueEnum::from_str(text, false).ok()
    }
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected(Box<Injected>),
    /// It is left as it is.
    Skipped(Skip),
}

/// A pod with a sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// All of the pod.
    pub pod: Value,
    /// What its owner should know: annotations that were not understood.
    pub warnings: Vec<String>,
}

impl Injected {
    /// The JSON Patch (RFC 6902) that makes this pod of `original`: each changed member as a whole.
    #[must_use]
    pub fn json_patch(&self, original: &Value) -> Value {
        let changed = CHANGED.into_iter().filter_map(|path| {
            // A template may come without metadata: a member can only be added to what is there.
            let (parent, _) = path.rsplit_once('/')?;
            let path = if original.pointer(parent).is_some_and(Value::is_object) { path } else { parent };
            let new = self.pod.pointer(path)?;
            // Adding a member that is there replaces it.
            (original.pointer(path) != Some(new)).then(|| json!({"op": "add", "path": path, "value": new}))
        });
        Value::Array(changed.collect())
    }
}

/// Gives a pod (the object, or a workload's template: anything with `metadata` and `spec`) its sidecar. `secret` is of this pod alone.
#[must_use]
pub fn inject(pod: &Value, settings: &Settings, secret: &ProbeSecret) -> Outcome {
    if let Some(reason) = Skip::of(pod) {
        return Outcome::Skipped(reason);
    }
    let no_annotations = Map::new();
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object).unwrap_or(&no_annotations);
    let (wishes, mut warnings) = Wishes::read(annotations);

    let mut patched = pod.clone();
    let Some(spec) = patched.get_mut("spec").and_then(Value::as_object_mut) else {
        return Outcome::Skipped(Skip::NoSpec);
    };
    let probes = probes::redirect(spec, wishes.skip_inbound_ports.unwrap_or_default(), secret);
    let sidecar = containers::sidecar(settings, &wishes, probes);
    warnings.extend(skip::warnings(pod, &sidecar, &settings.control_plane));
    // First: whatever else runs before the application does so through the mesh.
    list(spec, "initContainers").splice(0..0, [containers::capture(settings, &wishes), sidecar]);
    list(spec, "volumes").extend(containers::volumes());
    let application = spec.get("containers").and_then(|containers| containers.get(0)?.get("name")).cloned();
    annotate(&mut patched, application);
    if containers::metrics_from(settings, &wishes) != MetricsFrom::Off {
        annotate_for_prometheus(&mut patched);
    }
    Outcome::Injected(Box::new(Injected { pod: patched, warnings }))
}

/// A list of the spec; `Skip::of` has seen that it is one if it is anything.
fn list<'a>(spec: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let list = spec.entry(name).or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it was just made one")
}

/// `kubectl logs` and `exec` mean the application, and everybody can see which version the sidecar has.
fn annotate(pod: &mut Value, application: Option<Value>) {
    // A template may come without any metadata.
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    if !pod["metadata"]["annotations"].is_object() {
        pod["metadata"]["annotations"] = json!({});
    }
    let annotations = &mut pod["metadata"]["annotations"];
    annotations[STATUS] = json!(outrigger_daemon::VERSION);
    if let Some(application) = application
        && annotations.get(DEFAULT_CONTAINER).is_none()
    {
        annotations[DEFAULT_CONTAINER] = application;
    }
}

/// Prometheus configurations that discover pods by annotations find the sidecar, unless the pod has such annotations of its own.
fn annotate_for_prometheus(pod: &mut Value) {
    let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() else { return };
    if annotations.keys().any(|name| name.starts_with(PROMETHEUS)) {
        return;
    }
    let port = containers::METRICS_PORT.to_string();
    for (name, value) in [("scrape", "true"), ("port", &*port), ("path", "/metrics")] {
        annotations.insert(format!("{PROMETHEUS}{name}"), json!(value));
    }
}

/// The init container that redirects the pod's traffic.
pub(crate) const CAPTURE: &str = "outrigger-init";
/// The sidecar.
pub(crate) const SIDECAR: &str = "outrigger-sidecar";
/// The version of the sidecar that a pod was given.
const STATUS: &str = "outrigger.io/injected";
const PROMETHEUS: &str = "prometheus.io/";
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// What injection changes.
const CHANGED: [&str; 4] = ["/metadata/annotations", "/spec/containers", "/spec/initContainers", "/spec/volumes"];

#[cfg(test)]
mod tests;
