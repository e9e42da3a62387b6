//! The page `/config`: what is in force, and how the sidecar stands with the control plane.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::admission::Admission;
use crate::balance::Backend;
use crate::direction::Direction;
use crate::sync::{Store, SyncStatus};
use crate::telemetry::Telemetry;
use crate::tls::TlsState;

/// Makes the function that renders the page.
pub(crate) fn page(
    store: Arc<Store>,
    tls: Arc<TlsState>,
    status: Arc<Mutex<SyncStatus>>,
    telemetry: Arc<Telemetry>,
    admission: Arc<Admission>,
) -> impl Fn() -> String + Send + Sync {
    move || {
        let status = status.lock().clone();
        let page = json!({
            "apiVersion": "sidecar.outrigger.io/v1",
            "version": outrigger_daemon::VERSION,
            "workload": workload(&store),
            "certificate": certificate(&tls),
            "sync": {
                "connected": status.connected,
                "restored": status.restored,
                "lastCommitMsAgo": status.last_commit.map(|at| at.elapsed().as_millis() as u64),
                "lastError": status.last_error,
                "resources": status.resources,
                "refused": status.refused.iter().map(|(key, reason)| json!({"key": key, "reason": reason})).collect::<Vec<_>>(),
                "configVersion": *store.version(),
            },
            "inFlight": telemetry.in_flight(),
            "limits": limits(&admission),
            "destinations": store.describe().iter().map(|(address, kind)| json!({"address": address, "is": kind})).collect::<Vec<_>>(),
            "backends": store.backends().iter().map(|backend| describe(backend)).collect::<Vec<_>>(),
        });
        format!("{page:#}\n")
    }
}

fn limits(admission: &Admission) -> Value {
    let limits = admission.limits();
    json!({
        "descriptors": limits.descriptors,
        "descriptorsOfDirection": limits.share,
        "connections": {
            "inbound": limits.each,
            "outbound": limits.each,
            "inboundWithoutIdentity": limits.strangers,
        },
        "open": {
            "inbound": admission.open(Direction::Inbound),
            "outbound": admission.open(Direction::Outbound),
            "inboundSilent": admission.silent(),
        },
        "memoryLimitBytes": admission.memory().map(|(_, limit)| limit),
        "overload": admission.level().as_str(),
    })
}

fn workload(store: &Store) -> Value {
    let Some(workload) = store.workload() else { return json!({ "name": store.own().to_string() }) };
    json!({
        "name": workload.name.to_string(),
        "serviceAccount": &*workload.service_account,
        "serviceName": &*workload.service_name,
        "inbound": format!("{:?}", workload.mode).to_lowercase(),
    })
}

fn certificate(tls: &TlsState) -> Value {
    let Some(tls) = tls.get() else { return Value::Null };
    let left = tls.credentials.not_after().duration_since(SystemTime::now()).unwrap_or_default();
    json!({
        "identity": tls.credentials.peer().identity.as_str(),
        "expiresInSeconds": left.as_secs(),
        "lifetimeSeconds": tls.credentials.lifetime().as_secs(),
        "trustAnchors": tls.bundle.anchors().len(),
    })
}

fn describe(backend: &Backend) -> Value {
    let endpoints = backend.endpoints();
    let endpoint = |endpoint: &Arc<crate::balance::Endpoint>| {
        json!({
            "address": endpoint.address,
            "identity": endpoint.identity.as_ref().map(|identity| identity.as_str()),
            "workload": endpoint.workload.as_ref().map(ToString::to_string),
            "inFlight": endpoint.in_flight(),
            "ejected": endpoint.ejected(),
            "leaving": endpoint.leaving().is_told(),
            "leftOutForMs": endpoint.circuit().map(|open| open.age.as_millis() as u64),
            "nextProbeInMs": endpoint.circuit().map(|open| open.next_probe.as_millis() as u64),
        })
    };
    let policy = backend.policy().map(|policy| policy.name.to_string());
    json!({
        "backend": backend.name.to_string(),
        "policy": policy,
        "pending": backend.pending(),
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}
