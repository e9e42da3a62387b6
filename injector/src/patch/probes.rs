//! Points the kubelet's probes at the sidecar, which asks the app what the kubelet would have asked.
//!
//! The port there is open to the network. So each path holds the pod's secret, which who cannot read the pod does not know, and headers are
//! not the kubelet's to send but told to the sidecar.
//!
//! Captured, a TCP probe would find the sidecar listening whatever the app does, and none would pass where only peers of the
//! mesh may come in. Left as they are: `exec`, HTTPS (TLS passes the sidecar untouched), probes of another host, and of ports
//! that are not captured.

use serde_json::{Map, Value, json};

use super::ProbeSecret;
use super::containers::PROBE_PORT;

/// Rewrites the probes and the HTTP hooks of all containers. Returns what the sidecar has to know, by path, if anything.
pub(super) fn redirect(spec: &mut Map<String, Value>, not_captured: &str, secret: &ProbeSecret) -> Option<String> {
    let mut known = Map::new();
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(name) = container["name"].as_str().map(str::to_owned) else { continue };
            let ports = container["ports"].clone();
            for (pointer, path) in HANDLERS {
                let path = format!("/{secret}/{name}/{path}");
                let Some(handler) = container.pointer_mut(pointer).and_then(Value::as_object_mut) else { continue };
                let is_hook = pointer.starts_with("/lifecycle");
                if let Some(asks) = asks(handler, &ports, is_hook).filter(|asks| !skipped(asks, not_captured)) {
                    KINDS.into_iter().for_each(|kind| drop(handler.remove(kind)));
                    handler.insert("httpGet".to_owned(), json!({"path": path, "port": PROBE_PORT}));
                    known.insert(path, asks);
                }
            }
        }
    }
    (!known.is_empty()).then(|| Value::Object(known).to_string())
}

/// What a handler asks of the app, in the sidecar's words; `None`: it stays as it is.
fn asks(handler: &Map<String, Value>, ports: &Value, is_hook: bool) -> Option<Value> {
    let of = |kind: &str| handler.get(kind).filter(|of| of["host"].as_str().unwrap_or_default().is_empty());
    if let Some(get) = of("httpGet") {
        let path = get["path"].as_str().unwrap_or_default();
        let path = format!("{}{path}", if path.starts_with('/') { "" } else { "/" });
        let plain = get["scheme"].as_str().is_none_or(|scheme| scheme == "HTTP");
        let readable = path.parse::<http::Uri>().is_ok();
        let mut http = json!({"port": number(&get["port"], ports)?, "path": path});
        let headers = headers(&get["httpHeaders"])?;
        if !headers.is_empty() {
            http["headers"] = Value::Array(headers);
        }
        if is_hook {
            http["hook"] = json!(true);
        }
        return (plain && readable).then_some(json!({"http": http}));
    }
    if is_hook {
        return None;
    }
    if let Some(tcp) = of("tcpSocket") {
        return Some(json!({"tcp": {"port": number(&tcp["port"], ports)?}}));
    }
    let grpc = of("grpc")?;
    Some(
        json!({"grpc": {"port": number(&grpc["port"], ports)?, "service": grpc["service"].as_str().unwrap_or_default()}}),
    )
}

/// The headers that a handler declares, each as `[name, value]`; `None`: the kubelet may know what to do with one, the sidecar does not.
fn headers(declared: &Value) -> Option<Vec<Value>> {
    let header = |declared: &Value| {
        let (name, value) = (declared["name"].as_str()?, declared["value"].as_str().unwrap_or_default());
        let readable = name.parse::<http::HeaderName>().is_ok() && http::HeaderValue::from_str(value).is_ok();
        readable.then(|| json!([name, value]))
    };
    declared.as_array().into_iter().flatten().map(header).collect()
}

/// The number of a port that is given by number or by its name in the container.
fn number(port: &Value, ports: &Value) -> Option<u64> {
    let found = match port.as_str() {
        None => port.as_u64(),
        Some(name) => {
            let named = ports.as_array().into_iter().flatten().find(|port| port["name"] == name);
            named.map_or_else(|| name.parse().ok(), |port| port["containerPort"].as_u64())
        }
    };
    found.filter(|port| (1..=u64::from(u16::MAX)).contains(port))
}

/// Whether the port is one of those that are not captured, `25,8000-8100`: the kubelet reaches the app itself.
fn skipped(asks: &Value, not_captured: &str) -> bool {
    let port = asks.as_object().and_then(|asks| asks.values().next()?["port"].as_u64()).unwrap_or_default();
    not_captured.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.trim().parse::<u64>().ok().zip(last.trim().parse::<u64>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&port))
    })
}

/// Where a container says what the kubelet is to ask, and what its path is called.
const HANDLERS: [(&str, &str); 5] = [
    ("/startupProbe", "startup"),
    ("/livenessProbe", "liveness"),
    ("/readinessProbe", "readiness"),
    ("/lifecycle/postStart", "post-start"),
    ("/lifecycle/preStop", "pre-stop"),
];
const KINDS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a container, and what the sidecar is told.
    fn redirected(container: Value) -> (Value, Value) {
        let mut spec = json!({"containers": [container]});
        let known = redirect(spec.as_object_mut().unwrap(), "9100,9200-9300", &ProbeSecret::fixed("s3cret"));
        (spec["containers"][0].take(), known.map_or(Value::Null, |known| serde_json::from_str(&known).unwrap()))
    }

    #[test]
    fn probes_of_each_kind_go_to_the_sidecar() {
        let (container, known) = redirected(json!({
            "name": "app", "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"tcpSocket": {"port": 9090}, "periodSeconds": 1},
            "livenessProbe": {"httpGet": {"path": "live?deep=1", "port": "web", "httpHeaders": [{"name": "A", "value": "b"}]}},
            "readinessProbe": {"grpc": {"port": 8080, "service": "shop.Cart"}},
            "lifecycle": {"preStop": {"httpGet": {"port": "8081"}}},
        }));

        let get = |path: &str| json!({"path": path, "port": 4193});
        assert_eq!(container["startupProbe"], json!({"httpGet": get("/s3cret/app/startup"), "periodSeconds": 1}));
        assert_eq!(container["livenessProbe"], json!({"httpGet": get("/s3cret/app/liveness")}));
        assert_eq!(container["readinessProbe"], json!({"httpGet": get("/s3cret/app/readiness")}));
        assert_eq!(container["lifecycle"], json!({"preStop": {"httpGet": get("/s3cret/app/pre-stop")}}));
        assert_eq!(
            known,
            json!({
                "/s3cret/app/startup": {"tcp": {"port": 9090}},
                "/s3cret/app/liveness": {"http": {"port": 8080, "path": "/live?deep=1", "headers": [["A", "b"]]}},
                "/s3cret/app/readiness": {"grpc": {"port": 8080, "service": "shop.Cart"}},
                "/s3cret/app/pre-stop": {"http": {"port": 8081, "path": "/", "hook": true}},
            })
        );
    }

    #[test]
    fn what_needs_no_sidecar_stays() {
        for handler in [
            json!({"exec": {"command": ["/bin/true"]}}),
            json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}}),
            json!({"httpGet": {"port": 80, "host": "192.0.2.7"}}),
            json!({"tcpSocket": {"port": "nowhere"}}),
            json!({"tcpSocket": {"port": 9250}}),
            json!({"grpc": {"port": 9100}}),
            json!({"httpGet": {"port": 80, "path": "/a b"}}),
            json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "b\nc"}]}}),
        ] {
            let container = json!({"name": "app", "livenessProbe": handler});
            assert_eq!(redirected(container.clone()), (container, Value::Null));
        }
    }
}
