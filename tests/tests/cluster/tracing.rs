//! Traces, in a real Jaeger that runs in the cluster.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_tests::cluster::{JAEGER, Space, Workload};
use serde_json::{Value, json};

#[test]
fn a_request_through_three_services_is_one_trace_with_exactly_its_edges() {
    let Some(space) = Space::meshed() else { return };
    deploy_jaeger(&space);
    let annotations = format!(
        "config.outrigger.io/otlp: 'http://jaeger.{}:4317', config.outrigger.io/trace-ratio: '1'",
        space.name()
    );
    space.deploy(["client", "a", "b", "c"].map(|name| Workload::new(name).annotations(&annotations)));

    let url = "http://a/call?next=http://b/call?next=http://c/leaf";
    let seen = space.seen("deployment/client", url);
    assert_eq!(seen["next"]["next"]["path"], "/leaf", "{seen:#}");
    let header = seen["next"]["next"]["headers"]["Traceparent"][0].as_str().unwrap().to_owned();
    let trace = header.split('-').nth(1).unwrap().to_owned();

    let spans = space.eventually("six spans of the trace", || {
        let answer = ask(&space, &format!("traces/{trace}")).ok()?["data"][0].clone();
        (answer["spans"].as_array()?.len() >= 6).then(|| read(&answer))
    });
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let told: Vec<_> = chain(&spans).iter().map(|span| (&*span.service, &*span.kind)).collect();
    let hops =
        [("client", "client"), ("a", "server"), ("a", "client"), ("b", "server"), ("b", "client"), ("c", "server")];
    assert_eq!(told, hops, "each span is the only child of the one before: {spans:#?}");
    assert!(header.contains(&chain(&spans)[5].id), "the application is told of the span above it: {header}");
    for span in &spans {
        let pod = span.resource["k8s.pod.name"].as_str().unwrap();
        assert!(pod.starts_with(&format!("{}-", span.service)), "{span:#?}");
        assert_eq!(span.resource["k8s.namespace.name"], space.name(), "{span:#?}");
    }

    for _ in 0..4 {
        let _ = space.seen("deployment/client", url);
    }
    let five = [("a", "b", 5), ("b", "c", 5), ("client", "a", 5)].map(|(from, to, calls)| json!([from, to, calls]));
    let edges = space.eventually("five calls along each edge", || {
        let edges = edges(&space);
        (edges.len() >= 3 && edges.iter().all(|edge| edge[2].as_u64() >= Some(5))).then_some(edges)
    });
    assert_eq!(edges, five, "and no other edge: no probe, no sidecar, no Jaeger");
    let mut services = ask(&space, "services").unwrap()["data"].as_array().unwrap().clone();
    services.sort_by_key(ToString::to_string);
    assert_eq!(services, ["a", "b", "c", "client"]);
}

/// Jaeger as a pod without a sidecar: OTLP on 4317, its API on 16686.
fn deploy_jaeger(space: &Space) {
    let probe = "          readinessProbe: {httpGet: {path: /, port: 14269}, periodSeconds: 1}\n";
    let jaeger = Workload::new("jaeger").image(JAEGER).labels("outrigger.io/inject: disabled").container(probe);
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: jaeger}\nspec:\n  selector: {app: jaeger}\n\
                   \x20 ports:\n    - {name: otlp, port: 4317}\n    - {name: api, port: 16686}\n";
    space.apply(&(jaeger.yaml() + service));
    space.rolled_out("deployment/jaeger");
}

/// Asks Jaeger's API through the API server.
fn ask(space: &Space, path: &str) -> Result<Value, String> {
    let url = format!("/api/v1/namespaces/{}/services/jaeger:api/proxy/api/{path}", space.name());
    let output = space.cluster().kubectl(["get", "--raw", &url]).output().unwrap();
    serde_json::from_slice(&output.stdout).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Who calls whom, and how often.
fn edges(space: &Space) -> Vec<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let told = ask(space, &format!("dependencies?endTs={}&lookback=3600000", now + 1000)).unwrap();
    let edges = told["data"].as_array().into_iter().flatten();
    let mut edges: Vec<Value> = edges.map(|edge| json!([edge["parent"], edge["child"], edge["callCount"]])).collect();
    edges.sort_by_key(ToString::to_string);
    edges
}

/// A span as Jaeger gives it back.
#[derive(Debug)]
struct Span {
    service: String,
    kind: String,
    id: String,
    parent: Option<String>,
    resource: BTreeMap<String, Value>,
}

fn read(trace: &Value) -> Vec<Span> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tags = |tags: &Value| -> BTreeMap<String, Value> {
        tags.as_array().unwrap().iter().map(|tag| (text(&tag["key"]), tag["value"].clone())).collect()
    };
    let spans = trace["spans"].as_array().unwrap().iter();
    let span = |span: &Value| {
        let process = &trace["processes"][span["processID"].as_str().unwrap()];
        Span {
            service: text(&process["serviceName"]),
            kind: text(&tags(&span["tags"])["span.kind"]),
            id: text(&span["spanID"]),
            parent: span["references"][0]["spanID"].as_str().map(str::to_owned),
            resource: tags(&process["tags"]),
        }
    };
    spans.map(span).collect()
}

/// The spans from the root down, each the child of the one before; as far as that goes.
fn chain(spans: &[Span]) -> Vec<&Span> {
    let mut chain: Vec<&Span> = Vec::new();
    let mut next = spans.iter().find(|span| span.parent.is_none());
    while let Some(span) = next {
        chain.push(span);
        next = spans.iter().find(|child| child.parent.as_ref() == Some(&span.id));
    }
    chain
}
