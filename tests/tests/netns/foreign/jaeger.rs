//! A real Jaeger reads what the sidecars tell: client → web → api, each with a sidecar; web passes the headers on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::{grpc, jaeger};
use outrigger_tests::{App, Client, Mesh, Pod, Process, Reply, Response, Seen, wait, yaml};
use serde_json::{Value, json};

use super::{Peer, enter_with, serve, succeeds};

const WEB: &str = "10.96.0.10";
const API: &str = "10.96.0.11";
const CALLS: &str = "10.96.0.12";
const NOBODY: &str = "10.96.0.13";

/// Of the calls to the api.
const RULES: &str = "    - matches: [{path: {type: PathPrefix, value: /items}}]
      retry: {codes: [503], attempts: 2, backoff: 1ms}
      backendRefs: [{name: api, port: 80}]
";

/// What an app has to pass on, so that its calls belong to the trace of the request that caused them.
const PASSED_ON: [&str; 4] = ["traceparent", "tracestate", "baggage", "b3"];

struct Shop {
    mesh: Mesh,
    jaeger: jaeger::Addresses,
    jaeger_home: Namespace,
    client: Pod,
    web: Pod,
    api: Pod,
    web_app: App,
    api_app: App,
    _jaeger: Process,
}

impl Shop {
    /// `answer` is the api's; `ratio` is of every sidecar.
    fn open(
        peers: impl IntoIterator<Item = Peer>,
        ratio: &str,
        answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        let probe = jaeger::server(addresses(IpAddr::from([127, 0, 0, 1])));
        let sandbox = enter_with([probe].into_iter().chain(peers))?;
        let mut yaml = yaml::service("web", WEB, 80, 8080) + &yaml::service("api", API, 80, 8080);
        yaml.push_str(&yaml::service("calls", CALLS, 80, 10000));
        yaml.push_str(&yaml::service("nobody", NOBODY, 80, 8080));
        yaml.push_str(&yaml::http_route("api-route", "api", RULES));
        let mut mesh = Mesh::start(sandbox, &yaml);
        let jaeger_home = mesh.bare("jaeger");
        let jaeger = addresses(jaeger_home.v4().into());
        let process = serve(&mesh, &jaeger_home, jaeger.query.port(), jaeger::server(jaeger));
        wait::until_true("Jaeger takes OTLP", || super::listens(&jaeger_home, jaeger.otlp_grpc.port()));
        let otlp = format!("http://{}", jaeger.otlp_grpc);
        let mut pod =
            |name: &str| mesh.pod_with(&format!("{name}-1"), name, "", &["--otlp", &otlp, "--trace-ratio", ratio]);
        let (client, web, api) = (pod("client"), pod("web"), pod("api"));
        let api_app = App::http(&api, 8080, answer);
        let web_app = App::http(&web, 8080, |seen| {
            let passed = PASSED_ON.iter().filter_map(|name| Some((*name, &**seen.headers.get(*name)?)));
            let headers: Vec<_> = passed.chain([("host", "api.shop:80")]).collect();
            let answer = Client::connect(&format!("{API}:80"))
                .and_then(|mut api| api.send("GET", "/items/7?secret=1", &headers, &[]));
            Reply::status(answer.map_or(502, |answer| answer.status))
        });
        Some(Self { mesh, jaeger, jaeger_home, client, web, api, web_app, api_app, _jaeger: process })
    }

    /// One request of the client to the web.
    fn get(&self, headers: &[(&str, &str)]) -> Response {
        let headers = [&[("host", "web.shop:80")], headers].concat();
        self.client.connect(&format!("{WEB}:80")).send("GET", "/basket/9?secret=1", &headers, &[]).unwrap()
    }

    fn ask(&self, path: &str) -> Value {
        let answer = succeeds(&self.jaeger_home, jaeger::query(self.jaeger, path));
        serde_json::from_str(&answer).unwrap()
    }

    /// The spans of a trace, each after its parent, siblings by their start; waits until there are `count`.
    fn spans(&self, trace: &str, count: usize) -> Vec<Span> {
        let told = wait::until(&format!("{count} spans of {trace}"), || {
            let answer =
                self.jaeger_home.run(|| jaeger::query(self.jaeger, &format!("/api/traces/{trace}")).unwrap().output());
            let answer: Value = serde_json::from_slice(&answer.unwrap().unwrap().stdout).ok()?;
            let trace = answer["data"][0].clone();
            (trace["spans"].as_array()?.len() >= count).then_some(trace)
        });
        let mut spans: Vec<Span> =
            told["spans"].as_array().unwrap().iter().map(|span| Span::read(span, &told)).collect();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by_key(|span| span.start);
        // Clocks of several processes: a child may seem to begin before its parent.
        let mut ordered: Vec<Span> = Vec::new();
        while !spans.is_empty() {
            let ids: Vec<String> = spans.iter().map(|span| span.id.clone()).collect();
            let ready = |span: &Span| span.parent.as_ref().is_none_or(|parent| !ids.contains(parent));
            let next = spans.iter().position(ready).expect("parents make no circle");
            ordered.push(spans.remove(next));
        }
        ordered
    }

    /// Who calls whom, and how often.
    fn edges(&self) -> Vec<(String, String, u64)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let told = self.ask(&format!("/api/dependencies?endTs={}&lookback=3600000", now + 1000));
        let text = |edge: &Value, name: &str| edge[name].as_str().unwrap().to_owned();
        let edges = told["data"].as_array().unwrap().iter();
        let mut edges: Vec<_> = edges
            .map(|edge| (text(edge, "parent"), text(edge, "child"), edge["callCount"].as_u64().unwrap()))
            .collect();
        edges.sort();
        edges
    }
}

/// A span as Jaeger gives it back.
#[derive(Debug)]
struct Span {
    service: String,
    name: String,
    kind: String,
    id: String,
    parent: Option<String>,
    start: u64,
    tags: BTreeMap<String, Value>,
    resource: BTreeMap<String, Value>,
}

impl Span {
    fn read(span: &Value, trace: &Value) -> Self {
        let tags = |tags: &Value| -> BTreeMap<String, Value> {
            tags.as_array()
                .unwrap()
                .iter()
                .map(|tag| (tag["key"].as_str().unwrap().to_owned(), tag["value"].clone()))
                .collect()
        };
        let process = &trace["processes"][span["processID"].as_str().unwrap()];
        let references = span["references"].as_array().unwrap();
        assert!(references.len() <= 1 && references.iter().all(|reference| reference["refType"] == "CHILD_OF"));
        let mut own = tags(&span["tags"]);
        let kind = own.remove("span.kind").unwrap();
        Self {
            service: process["serviceName"].as_str().unwrap().to_owned(),
            name: span["operationName"].as_str().unwrap().to_owned(),
            kind: kind.as_str().unwrap().to_owned(),
            id: span["spanID"].as_str().unwrap().to_owned(),
            parent: references.first().map(|reference| reference["spanID"].as_str().unwrap().to_owned()),
            start: span["startTime"].as_u64().unwrap(),
            tags: own,
            resource: tags(&process["tags"]),
        }
    }

    fn told(&self) -> (&str, &str, &str) {
        (&self.service, &self.kind, &self.name)
    }

    /// Asserts that these are all of the tags. `null` stands for a port that the kernel chose.
    fn assert_tags(&self, expected: &Value) {
        let mut tags = self.tags.clone();
        for (name, value) in expected.as_object().unwrap() {
            if value.is_null() {
                assert!(tags.get(name).is_some_and(Value::is_u64), "{name} of {self:#?}");
                tags.insert(name.clone(), Value::Null);
            }
        }
        // Jaeger's own words.
        tags.retain(|name, _| !name.starts_with("internal.") && !name.starts_with("otel.scope."));
        assert_eq!(&json!(tags), expected, "{self:#?}");
    }
}

/// The trace and the span that a `traceparent` names, and its flags.
fn traceparent(seen: &Seen) -> (String, String, String) {
    let header = seen.headers.get("traceparent").unwrap_or_else(|| panic!("{seen:?}"));
    let [version, trace, span, flags] = header.split('-').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((version, trace.len(), span.len()), ("00", 32, 16), "{header}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

fn addresses(ip: IpAddr) -> jaeger::Addresses {
    let at = |port| SocketAddr::new(ip, port);
    jaeger::Addresses { otlp_grpc: at(4317), otlp_http: at(4318), query: at(16686) }
}

fn ok(_: &Seen) -> Reply {
    Reply::ok("")
}

#[test]
fn a_request_through_three_pods_is_one_trace_of_four_spans() {
    let Some(shop) = Shop::open([], "1.0", ok) else { return };

    assert_eq!(shop.get(&[]).status, 200);

    let (web_saw, api_saw) = (shop.web_app.seen().remove(0), shop.api_app.seen().remove(0));
    let (trace, web_span, flags) = traceparent(&web_saw);
    let (api_trace, api_span, _) = traceparent(&api_saw);
    assert_eq!((&*flags, &trace), ("01", &api_trace));
    let spans = shop.spans(&trace, 4);
    let [first, second, third, fourth] = &*spans else { unreachable!() };
    assert_eq!(first.told(), ("client", "client", "GET"));
    assert_eq!(second.told(), ("web", "server", "GET"));
    assert_eq!(third.told(), ("web", "client", "GET /items"));
    assert_eq!(
        fourth.told(),
        ("api", "server", "GET /items"),
        "named by the route that the caller's sidecar has matched"
    );
    assert!(!api_saw.headers.keys().any(|name| name.starts_with("outrigger-")), "{api_saw:?}");
    assert_eq!(first.parent, None);
    assert_eq!(
        [second, third, fourth].map(|span| span.parent.clone().unwrap()),
        [first, second, third].map(|span| span.id.clone())
    );
    assert_eq!((&web_span, &api_span), (&second.id, &fourth.id), "the apps are told of the spans above them");

    first.assert_tags(&json!({
        "http.request.method": "GET", "url.full": "http://web.shop:80/basket/9", "http.response.status_code": 200,
        "server.address": "web.shop", "server.port": 80, "network.peer.address": shop.web.ip(), "network.peer.port": 8080,
        "network.protocol.version": "1.1", "outrigger.backend": "shop/web:80",
        "outrigger.peer.identity": "spiffe://mesh.local/ns/shop/sa/web",
    }));
    second.assert_tags(&json!({
        "http.request.method": "GET", "url.path": "/basket/9", "url.scheme": "http", "http.response.status_code": 200,
        "client.address": shop.client.ip(),
        "server.address": "web.shop", "server.port": 80, "network.peer.address": shop.client.ip(), "network.peer.port": null,
        "network.protocol.version": "1.1", "outrigger.peer.identity": "spiffe://mesh.local/ns/shop/sa/client",
    }));
    third.assert_tags(&json!({
        "http.request.method": "GET", "url.full": "http://api.shop:80/items/7", "url.template": "/items", "http.response.status_code": 200,
        "server.address": "api.shop", "server.port": 80, "network.peer.address": shop.api.ip(), "network.peer.port": 8080,
        "network.protocol.version": "1.1", "outrigger.route": "HTTPRoute/shop/api-route/0", "outrigger.backend": "shop/api:80",
        "outrigger.peer.identity": "spiffe://mesh.local/ns/shop/sa/api",
    }));
    assert_eq!(fourth.tags["outrigger.peer.identity"], "spiffe://mesh.local/ns/shop/sa/web");
    for span in &spans {
        assert_eq!(span.resource["service.namespace"], "shop");
        assert_eq!(span.resource["k8s.pod.name"], format!("{}-1", span.service));
    }

    assert_eq!(shop.ask("/api/services")["data"].as_array().unwrap().len(), 3);
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned(), 1);
    assert_eq!(shop.edges(), [edge("client", "web"), edge("web", "api")]);
}

#[test]
fn a_trace_that_comes_in_is_continued_and_what_goes_with_it_passes() {
    let Some(shop) = Shop::open([], "0", ok) else { return };
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");

    let header = format!("00-{trace}-{caller}-01");
    shop.get(&[("traceparent", &header), ("tracestate", "vendor=1"), ("baggage", "user=7")]);
    let (b3_trace, b3_caller) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
    shop.get(&[("b3", &format!("{b3_trace}-{b3_caller}-1"))]);

    for (trace, caller) in [(trace, caller), (b3_trace, b3_caller)] {
        let spans = shop.spans(trace, 4);
        assert_eq!(spans[0].parent.as_deref(), Some(caller));
        assert_eq!(spans[3].parent, Some(spans[2].id.clone()));
    }
    let seen = [shop.web_app.seen(), shop.api_app.seen()];
    for [first, second] in seen.map(|seen| <[Seen; 2]>::try_from(seen).unwrap()) {
        assert_eq!((&*first.headers["tracestate"], &*first.headers["baggage"]), ("vendor=1", "user=7"));
        assert_eq!(traceparent(&first).0, trace);
        assert!(
            second.headers["b3"].starts_with(b3_trace) && !second.headers.contains_key("traceparent"),
            "{second:?}"
        );
    }
}

#[test]
fn a_callers_decision_against_a_trace_is_honoured() {
    let Some(shop) = Shop::open([], "1.0", ok) else { return };
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");

    shop.get(&[("traceparent", &format!("00-{trace}-{caller}-00"))]);
    shop.get(&[("b3", "0")]);
    shop.get(&[]);

    let seen = shop.api_app.seen();
    assert_eq!(seen[0].headers["traceparent"], format!("00-{trace}-{caller}-00"), "no span stands between");
    assert!(seen[1].headers["b3"].ends_with("-0") || seen[1].headers["b3"] == "0", "{:?}", seen[1]);
    // Each sidecar sends its spans in order: what is not here now will not come.
    shop.spans(&traceparent(&seen[2]).0, 4);
    let traces = shop.ask("/api/traces?service=client&limit=100&lookback=1h");
    assert_eq!(traces["data"].as_array().unwrap().len(), 1, "{traces:#}");
}

#[test]
fn each_attempt_of_a_repeated_request_has_a_span_of_its_own() {
    let answered = Arc::new(AtomicUsize::new(0));
    let answer =
        move |_: &Seen| if answered.fetch_add(1, Ordering::Relaxed) < 2 { Reply::status(503) } else { Reply::ok("") };
    let Some(shop) = Shop::open([], "1.0", answer) else { return };

    assert_eq!(shop.get(&[]).status, 200);

    let apps = shop.api_app.seen();
    let spans = shop.spans(&traceparent(&apps[0]).0, 8);
    let of = |service: &str, kind: &str| -> Vec<&Span> {
        spans.iter().filter(|span| (&*span.service, &*span.kind) == (service, kind)).collect()
    };
    let (attempts, served) = (of("web", "client"), of("api", "server"));
    let incoming = of("web", "server")[0];
    assert_eq!((attempts.len(), served.len()), (3, 3), "{spans:#?}");
    for (n, (attempt, served)) in attempts.iter().zip(&served).enumerate() {
        assert_eq!(attempt.parent.as_ref(), Some(&incoming.id));
        assert_eq!(served.parent.as_ref(), Some(&attempt.id));
        assert_eq!(traceparent(&apps[n]).1, served.id);
        let resent = attempt.tags.get("http.request.resend_count");
        assert_eq!(resent, [None, Some(&json!(1)), Some(&json!(2))][n]);
        let status = if n < 2 { 503 } else { 200 };
        for span in [attempt, served] {
            assert_eq!(span.tags["http.response.status_code"], status);
            assert_eq!(span.tags.get("error.type"), (n < 2).then_some(&json!("503")));
            assert_eq!(span.tags.get("error"), (n < 2).then_some(&json!(true)));
        }
    }
}

#[test]
fn a_call_is_named_by_its_method_and_an_error_of_the_mesh_by_its_code() {
    let peers = [grpc::server(1), grpc::client("", 1, "")];
    let Some(mut shop) = Shop::open(peers, "1.0", ok) else { return };
    let otlp = format!("http://{}", shop.jaeger.otlp_grpc);
    let calls = shop.mesh.pod_with("calls-1", "calls", "", &["--otlp", &otlp, "--trace-ratio", "1.0"]);
    let _server = serve(&shop.mesh, &calls, 10000, grpc::server(10000));

    succeeds(&shop.client, grpc::client(CALLS, 80, "empty_unary"));
    let refused = shop.client.connect(&format!("{NOBODY}:80")).get("/").unwrap();

    assert_eq!(refused.status, 503);
    let traces = wait::until("both traces", || {
        let told = shop.ask("/api/traces?service=client&limit=100&lookback=1h");
        let mut traces = told["data"].as_array()?.clone();
        traces.sort_by_key(|trace| trace["spans"].as_array().map(Vec::len));
        let counts: Vec<_> = traces.iter().map(|trace| trace["spans"].as_array().unwrap().len()).collect();
        (counts == [1, 2]).then_some(traces)
    });
    let failed = Span::read(&traces[0]["spans"][0], &traces[0]);
    assert_eq!(failed.told(), ("client", "client", "GET"));
    assert_eq!((&failed.tags["error.type"], &failed.tags["error"]), (&json!("destination_unavailable"), &json!(true)));
    assert_eq!(failed.tags["outrigger.error.code"], "E002");
    assert_eq!(failed.tags["http.response.status_code"], 503);
    let mut spans = shop.spans(traces[1]["traceID"].as_str().unwrap(), 2);
    let served = spans.pop().unwrap();
    for (span, told) in [(&spans[0], ("client", "client")), (&served, ("calls", "server"))] {
        assert_eq!(span.told(), (told.0, told.1, "grpc.testing.TestService/EmptyCall"));
        assert_eq!((&span.tags["rpc.system.name"], &span.tags["rpc.status_code"]), (&json!("grpc"), &json!("OK")));
        assert_eq!(span.tags["rpc.method"], "grpc.testing.TestService/EmptyCall");
    }
    assert_eq!(served.parent.as_ref(), Some(&spans[0].id));
}
