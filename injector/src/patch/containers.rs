//! The two containers and the volumes that a pod is given.

use serde_json::{Value, json};

use super::annotations::Wishes;
use super::skip::USER;
use super::{CAPTURE, MetricsFrom, SIDECAR, Settings};

/// Writes the rules that hand the pod's traffic to the sidecar, before anything else in the pod runs.
pub(super) fn capture(settings: &Settings, wishes: &Wishes<'_>) -> Value {
    let mut skip_inbound = format!("{HEALTH_PORT},{PROBE_PORT}");
    if let Some(ports) = wishes.skip_inbound_ports {
        skip_inbound = format!("{skip_inbound},{ports}");
    }
    let mut args =
        vec!["init".to_owned(), format!("--proxy-uid={USER}"), format!("--skip-inbound-ports={skip_inbound}")];
    args.extend(wishes.skip_outbound_ports.map(|ports| format!("--skip-outbound-ports={ports}")));
    args.extend(wishes.skip_outbound_cidrs.map(|cidrs| format!("--skip-outbound-cidrs={cidrs}")));
    let mut container = container(CAPTURE, settings, &args);
    // As the sidecar's: it has ended before the sidecar starts, so it costs nothing, and fits wherever the sidecar does.
    container["resources"] = resources(wishes);
    // nftables rules need CAP_NET_ADMIN in the pod's network, and only root's programs keep an added capability.
    container["securityContext"] = json!({
        "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "privileged": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    container
}

/// The sidecar: an init container that stays (KEP-753), so that it starts before all others, ends after them, and does not
/// keep a Job from completing.
///
/// `probes` is what it asks of the app for the kubelet.
pub(super) fn sidecar(settings: &Settings, wishes: &Wishes<'_>, probes: Option<String>) -> Value {
    let mut container = container(SIDECAR, settings, &["run".to_owned()]);
    container["restartPolicy"] = json!("Always");
    let mut environment = environment(settings, wishes);
    // Kubernetes would take `$(NAME)` in a path for a variable.
    environment.extend(probes.map(|probes| json!({"name": "OUTRIGGER_PROBES", "value": probes.replace('$', "$$")})));
    container["env"] = Value::Array(environment);
    let mut ports = vec![
        json!({"name": "outrigger-in", "containerPort": 4143, "protocol": "TCP"}),
        json!({"name": "outrigger-probe", "containerPort": HEALTH_PORT, "protocol": "TCP"}),
    ];
    if metrics_from(settings, wishes) != MetricsFrom::Off {
        ports.push(json!({"name": "outrigger-stats", "containerPort": METRICS_PORT, "protocol": "TCP"}));
    }
    container["ports"] = Value::Array(ports);
    let probe = |path: &str, period: u32, failures: u32| {
        let get = json!({"path": path, "port": HEALTH_PORT});
        // The sidecar holds its answer back until it is ready, or for three seconds.
        json!({"httpGet": get, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5})
    };
    container["readinessProbe"] = probe("/ready", 5, 3);
    container["livenessProbe"] = probe("/live", 10, 6);
    let hook = |command: &str| json!({"exec": {"command": ["/outrigger-sidecar", command]}});
    container["lifecycle"] = json!({
        // The application starts when this one ends. A startup probe would be asked once a second only.
        "postStart": hook("wait"),
        // Peers hear that this pod leaves when its end begins, not when the application has gone.
        "preStop": hook("leave"),
    });
    container["resources"] = resources(wishes);
    container["securityContext"] = json!({
        "runAsUser": USER, "runAsGroup": USER, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true, "privileged": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    container["volumeMounts"] = json!([
        {"name": TOKEN, "mountPath": TOKEN_DIR, "readOnly": true},
        {"name": STATE, "mountPath": STATE_DIR},
    ]);
    container
}

/// The token for the first certificate, good for nobody but the control plane; and memory for the last good state.
pub(super) fn volumes() -> [Value; 2] {
    [
        json!({"name": TOKEN, "projected": {"defaultMode": 0o444, "sources": [
            {"serviceAccountToken": {"path": "token", "audience": "outrigger", "expirationSeconds": 3600}},
        ]}}),
        json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}),
    ]
}

/// Who may read the sidecar's metrics.
pub(super) fn metrics_from(settings: &Settings, wishes: &Wishes<'_>) -> MetricsFrom {
    wishes.metrics.and_then(MetricsFrom::read).unwrap_or(settings.metrics)
}

fn resources(wishes: &Wishes<'_>) -> Value {
    let mut requests = json!({"cpu": wishes.cpu_request.unwrap_or(CPU_REQUEST)});
    requests["memory"] = json!(wishes.memory_request.unwrap_or(MEMORY_REQUEST));
    let mut limits = json!({"memory": wishes.memory_limit.unwrap_or(MEMORY_LIMIT)});
    if let Some(cpu) = wishes.cpu_limit {
        limits["cpu"] = json!(cpu);
    }
    json!({"requests": requests, "limits": limits})
}

fn container(name: &str, settings: &Settings, args: &[String]) -> Value {
    let mut container = json!({
        "name": name, "image": settings.image, "args": args,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let Some(policy) = &settings.pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

fn environment(settings: &Settings, wishes: &Wishes<'_>) -> Vec<Value> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let mut all = vec![
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_NAME", "metadata.name"),
        // Kubernetes fills in what stands above.
        value("OUTRIGGER_WORKLOAD", "$(POD_NAMESPACE)/$(POD_NAME)"),
        value("OUTRIGGER_CONTROL_PLANE", &settings.control_plane),
        value("OUTRIGGER_TRUST_DOMAIN", &settings.trust_domain),
        value("OUTRIGGER_TRUST_ANCHORS_PEM", &settings.trust_anchors),
        value("OUTRIGGER_TOKEN_FILE", &format!("{TOKEN_DIR}/token")),
        value("OUTRIGGER_STATE_DIR", STATE_DIR),
        value("OUTRIGGER_HEALTH_PORT", &HEALTH_PORT.to_string()),
        value("OUTRIGGER_LOG_FORMAT", "json"),
    ];
    let metrics_port = METRICS_PORT.to_string();
    let (port, from) = match metrics_from(settings, wishes) {
        MetricsFrom::Off => (None, None),
        MetricsFrom::Everyone => (Some(&*metrics_port), None),
        MetricsFrom::Mesh => (Some(&*metrics_port), Some("mesh")),
    };
    for (name, wish) in [
        ("OUTRIGGER_METRICS_PORT", port),
        ("OUTRIGGER_METRICS_FROM", from),
        ("OUTRIGGER_SCRAPE", wishes.scrape),
        ("OUTRIGGER_ACCESS_LOG", wishes.access_log),
        ("OUTRIGGER_LOG", wishes.log_filter),
        ("OUTRIGGER_OTLP", wishes.otlp.or(settings.otlp.as_deref())),
        ("OUTRIGGER_TRACE_RATIO", wishes.trace_ratio),
        ("OUTRIGGER_DRAIN_TIMEOUT", wishes.drain_timeout),
        ("OUTRIGGER_MAX_CONNECTION_AGE", wishes.max_connection_age),
        ("OUTRIGGER_CLIENT_CERT_HEADERS", wishes.client_cert_headers),
        ("OUTRIGGER_CLIENT_HEADERS", wishes.client_headers),
    ] {
        all.extend(wish.map(|wish| value(name, wish)));
    }
    all
}

pub(super) const TOKEN: &str = "outrigger-token";
const TOKEN_DIR: &str = "/var/run/secrets/outrigger.io";
pub(super) const STATE: &str = "outrigger-state";
const STATE_DIR: &str = "/var/lib/outrigger";
/// Where the kubelet asks; it is not captured.
const HEALTH_PORT: u16 = 4192;
/// Where it asks for the app; it is not captured either.
pub(super) const PROBE_PORT: u16 = 4193;
/// Where scrapers read the sidecar's metrics; it is captured, so that a scraper inside the mesh has mutual TLS.
pub(super) const METRICS_PORT: u16 = 4194;
pub(super) const CPU_REQUEST: &str = "10m";
pub(super) const MEMORY_REQUEST: &str = "16Mi";
pub(super) const MEMORY_LIMIT: &str = "250Mi";
