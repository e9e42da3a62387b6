//! What is sent can be used: whatever the objects say, a sidecar refuses none of their resources. And what it would refuse is told on the
//! object, in the words of the code that both compile rules with.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_proto::model::{
    self, Filter, HeaderModifier, Match, PathMatch, PathModifier, RouteId, RouteKind, RouteSet, StringMatch,
};
use outrigger_proto::{Key, wire};
use outrigger_routing::{CompileError, RouteTable};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;
use serde_json::{Value, json};

use super::{Published, closure, problems, resource};
use crate::fixture::{self, route, service, settings, snapshot};
use crate::objects::{self, Kind, Object};
use crate::state::{Event, State};

/// Says why a sidecar would refuse a resource, and counts the rules that it compiles.
fn take(snapshot: &Published, key: &Key, rules: &mut usize) -> Result<(), String> {
    fn decoded<W: Message + Default, M: TryFrom<W, Error = model::Invalid>>(value: &[u8]) -> Result<M, String> {
        let message = W::decode(value).map_err(|error| error.to_string())?;
        M::try_from(message).map_err(|error| error.to_string())
    }
    let Some(resource) = resource(snapshot, key) else { return Ok(()) };
    match key {
        Key::Mesh => decoded::<wire::MeshSettings, model::MeshSettings>(&resource.value).map(drop),
        Key::Workload(_) => decoded::<wire::Workload, model::Workload>(&resource.value).map(drop),
        Key::Endpoints(..) => decoded::<wire::Endpoints, model::Endpoints>(&resource.value).map(drop),
        Key::Address(_) => decoded::<wire::Address, model::Target>(&resource.value).map(drop),
        Key::Service(_) => {
            let service = decoded::<wire::Service, model::Service>(&resource.value)?;
            for set in service.routes.iter().chain(service.consumers.iter().map(|(_, set)| set)) {
                *rules += RouteTable::compile(set, |_| ()).map_err(|error| error.to_string())?.rules().len();
            }
            Ok(())
        }
    }
}

/// Says what of all that there is would be refused, and how many rules are compiled.
fn take_all(snapshot: &Published) -> (Vec<String>, usize) {
    let mut keys = vec![Key::Mesh];
    for service in snapshot.state.services.iter() {
        let (namespace, name) = (service.meta.namespace.arc(), service.meta.name.arc());
        for port in &service.ports {
            let root = Key::Service(outrigger_proto::ServicePort {
                namespace: namespace.clone(),
                name: name.clone(),
                port: port.port,
            });
            keys.extend(closure(snapshot, &root));
            keys.extend(service.addresses.iter().map(|address| Key::Address((*address, port.port.get()).into())));
        }
    }
    for workload in snapshot.state.pods.iter().chain(snapshot.state.workloads.iter()) {
        let (namespace, name) = (workload.meta.namespace.arc(), workload.meta.name.arc());
        keys.push(Key::Workload(outrigger_proto::WorkloadName { namespace, name }));
    }
    let mut rules = 0;
    let refused = keys.iter().filter_map(|key| Some(format!("{key}: {}", take(snapshot, key, &mut rules).err()?)));
    (refused.collect(), rules)
}

/// Puts in the Services that routes and policies name and that are not there.
fn add_services(state: &mut State) {
    let mut ports: BTreeMap<(String, String), BTreeMap<u16, String>> = BTreeMap::new();
    for prepared in state.routes.values().flat_map(|routes| routes.iter()) {
        let own = prepared.route.meta.namespace.to_string();
        let mut add = |namespace: &Option<String>, name: &str, port: Option<u16>, section: Option<&str>| {
            let service = (namespace.clone().unwrap_or_else(|| own.clone()), name.to_owned());
            ports.entry(service).or_default().insert(port.unwrap_or(80), section.unwrap_or("http").to_owned());
        };
        for parent in prepared.route.parents.iter().filter(|parent| parent.is_service()) {
            add(&parent.namespace, &parent.name, parent.port.map(Into::into), parent.section_name.as_deref());
        }
        for backend in prepared.rules.iter().flat_map(|rule| rule.references()) {
            add(&backend.namespace, &backend.name, backend.port.map(Into::into), None);
        }
    }
    for prepared in state.policies.values().flat_map(|policies| policies.iter()) {
        let namespace = prepared.policy.meta.namespace.to_string();
        for target in prepared.policy.targets.iter().filter(|target| target.is_service()) {
            let section = target.section_name.as_deref().unwrap_or("http").to_owned();
            ports.entry((namespace.clone(), target.name.clone())).or_default().entry(80).or_insert(section);
        }
    }
    for (number, ((namespace, name), ports)) in (1_u16..).zip(ports) {
        if state.services.get(&namespace, &name).is_some() {
            continue;
        }
        let [high, low] = number.to_be_bytes();
        let ports: Vec<Value> = ports.iter().map(|(port, section)| json!({"port": port, "name": section})).collect();
        let service = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterIP": format!("10.97.{high}.{low}"), "ports": ports}
        });
        // Some routes name what no Service can be called.
        if let Ok(service) = objects::from_json(Kind::Service, service) {
            state.apply(Event::Put(service));
        }
    }
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), into);
        } else {
            into.push(entry.path());
        }
    }
}

/// The examples, and the objects that fuzzing has found.
#[test]
fn no_sidecar_refuses_what_is_made_of_the_manifests_of_this_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts = Vec::new();
    for folder in ["examples", "fuzz/corpus/objects"] {
        files(&root.join(folder), &mut texts);
    }
    let empty = State::new(settings());
    let (mut routes, mut policies, mut rules) = (0, 0, 0);
    for file in texts {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let Ok(document) = objects::read(&text) else { continue };
        let mut state = empty.clone();
        for object in document.objects {
            routes += usize::from(matches!(object, Object::Route(_)));
            policies += usize::from(matches!(object, Object::Policy(_)));
            state.apply(Event::Put(object));
        }
        add_services(&mut state);
        let (refused, compiled) = take_all(&Published::new(state, None));
        assert_eq!(refused, Vec::<String>::new(), "{}", file.display());
        rules += compiled;
    }
    assert!(routes >= 15 && policies >= 2 && rules >= 15, "{routes} routes, {policies} policies, {rules} rules");
}

/// Paths, patterns, names and texts, good ones and others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a-z]{0,4}(/[a-z]{1,3}){0,3}/?",
        "/([a.;/]|%2[eEfF]|%5c|%00|%zz|%|\\\\|[.]{2}| |ä|[?]|#){0,6}",
        "[()\\[\\]{}|*+?^$.a0-9\\\\]{0,10}",
        "[(]a[{](10|200|1000)[}][)][{](10|200|1000)[}]",
        "[a-zA-Z][a-zA-Z-]{0,8}",
        "host|TE|Connection|http|https|ftp|web[.]shop|a:80|a@b|",
        "\\PC{0,6}",
    ]
}

/// A name, a good one more often than not: a rule that cannot even be read is not compiled.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![20 => "[a-z]{1,3}(-[a-z]{1,3})?", 1 => text()]
}

/// A text to match: most patterns are patterns.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![4 => "(/?[a-z]{1,3}([.][*]|\\[0-9\\]|[(]a[|]b[)][?]?)?){1,2}", 1 => text()]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![4 => "/[a-z]{0,4}(/[a-z]{1,3}){0,3}/?", 1 => text()]
}

fn conditions(kind: &'static [&'static str]) -> impl Strategy<Value = Vec<Value>> {
    let one = (prop::sample::select(kind), name(), value());
    prop::collection::vec(one.prop_map(|(kind, name, value)| json!({"type": kind, "name": name, "value": value})), 0..3)
}

fn path_modifier() -> impl Strategy<Value = Value> {
    (any::<bool>(), path()).prop_map(|(full, path)| match full {
        true => json!({"type": "ReplaceFullPath", "replaceFullPath": path}),
        false => json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": path}),
    })
}

fn filter() -> impl Strategy<Value = Value> {
    let headers = || {
        (name(), name(), name())
            .prop_map(|(set, value, remove)| json!({"set": [{"name": set, "value": value}], "remove": [remove]}))
    };
    prop_oneof![
        headers().prop_map(|h| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": h})),
        headers().prop_map(|h| json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": h})),
        (name(), path_modifier()).prop_map(|(hostname, path)| {
            json!({"type": "URLRewrite", "urlRewrite": {"hostname": hostname, "path": path}})
        }),
        (prop_oneof![3 => "https?", 1 => text()], name(), path_modifier()).prop_map(|(scheme, hostname, path)| {
            json!({"type": "RequestRedirect", "requestRedirect": {"scheme": scheme, "hostname": hostname, "path": path}})
        }),
        (0..110_u32).prop_map(|percent| {
            json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "v1", "port": 80}, "percent": percent}})
        }),
        prop_oneof![3 => "https://[a-z]{1,3}", 1 => text()].prop_map(|origin| json!({"type": "CORS", "cors": {"allowOrigins": [origin]}})),
    ]
}

fn backends() -> impl Strategy<Value = Vec<Value>> {
    let backend = (prop::sample::select(&["v1", "none"][..]), prop::collection::vec(filter(), 0..2));
    let backend = backend.prop_map(|(name, filters)| json!({"name": name, "port": 80, "filters": filters}));
    prop::collection::vec(backend, 0..3)
}

const KINDS: &[&str] = &["Exact", "RegularExpression"];

fn http_rule() -> impl Strategy<Value = Value> {
    let kinds = &["Exact", "PathPrefix", "RegularExpression"][..];
    let path = (prop::sample::select(kinds), prop_oneof![3 => path(), 1 => value()]);
    let path = path.prop_map(|(kind, value)| json!({"type": kind, "value": value}));
    let one = (path, prop::option::of(prop_oneof![20 => "GET|POST", 1 => text()]), conditions(KINDS), conditions(KINDS)).prop_map(
        |(path, method, headers, query)| json!({"path": path, "method": method, "headers": headers, "queryParams": query}),
    );
    (prop::collection::vec(one, 0..3), prop::collection::vec(filter(), 0..3), backends(), prop::option::of(name()))
        .prop_map(|(matches, filters, backends, session)| {
            let session = session.map(|name| json!({"sessionName": name}));
            json!({"matches": matches, "filters": filters, "backendRefs": backends, "sessionPersistence": session})
        })
}

fn grpc_rule() -> impl Strategy<Value = Value> {
    let method = (prop::sample::select(KINDS), value(), value());
    let method = method.prop_map(|(kind, service, method)| json!({"type": kind, "service": service, "method": method}));
    let one = (prop::option::of(method), conditions(KINDS));
    let one = one.prop_map(|(method, headers)| json!({"method": method, "headers": headers}));
    (prop::collection::vec(one, 0..3), prop::collection::vec(filter(), 0..3), backends()).prop_map(
        |(matches, filters, backends)| json!({"matches": matches, "filters": filters, "backendRefs": backends}),
    )
}

fn route_of(kind: RouteKind, rules: &[Value]) -> Object {
    let parents = json!([{"group": "", "kind": "Service", "name": "web", "port": 80}]);
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind.as_str(),
        "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"parentRefs": parents, "rules": rules}
    });
    objects::from_json(Kind::Route(kind), route).unwrap()
}

#[test]
fn no_sidecar_refuses_what_is_made_of_any_route() {
    let shop = fixture::state(&(service("web", "10.96.0.1") + &service("v1", "10.96.0.2")));
    let (all_sent, all_told) = (Cell::new(0), Cell::new(0));
    let routes = (prop::collection::vec(http_rule(), 1..4), prop::collection::vec(grpc_rule(), 1..4));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() });

    let result = runner.run(&routes, |(http, grpc)| {
        for (kind, rules) in [(RouteKind::Http, http), (RouteKind::Grpc, grpc)] {
            let mut state = shop.clone();
            state.apply(Event::Put(route_of(kind, &rules)));
            let snapshot = Published::new(state, None);

            let (refused, sent) = take_all(&snapshot);

            prop_assert_eq!(refused, Vec::<String>::new());
            let count = |what| problems(&snapshot).iter().filter(|problem| problem.reason.contains(what)).count();
            prop_assert_eq!(sent + count("is dropped"), rules.len(), "a rule is sent or told");
            let told = count("is dropped") + count("is refused");
            all_sent.set(all_sent.get() + rules.len() - told);
            all_told.set(all_told.get() + told);
        }
        Ok(())
    });

    result.unwrap();
    let (sent, told) = (all_sent.get(), all_told.get());
    assert!(sent > 200 && told > 200, "of both there are many: {sent} rules as written, {told} not");
}

/// What `RouteTable::compile` says of a rule.
fn compile_error(kind: RouteKind, matches: Match, filters: Vec<Filter>) -> String {
    let route = Arc::new(RouteId { kind, namespace: "shop".into(), name: "r".into() });
    let rule = model::Rule {
        route,
        index: 0,
        name: "".into(),
        matches: vec![matches],
        filters,
        backends: Vec::new(),
        request_timeout: None,
        attempt_timeout: None,
        retry: None,
        session: None,
    };
    let error = RouteTable::compile(&RouteSet { kind, rules: vec![rule] }, |_| ()).unwrap_err();
    let CompileError { route: _, field, problem } = error;
    format!("{field}: {problem}")
}

#[test]
fn a_pattern_or_path_that_a_sidecar_would_refuse_is_told_in_the_sidecars_words() {
    let with_path = |path| Match { path: Some(path), ..Match::default() };
    let regex = |pattern: &str| StringMatch::Regex(pattern.into());
    let grpc = |service: &str, method: &str| {
        with_path(PathMatch::Grpc { service: Some(regex(service)), method: Some(regex(method)) })
    };
    let (http, grpc_kind) = (("HTTPRoute", RouteKind::Http), ("GRPCRoute", RouteKind::Grpc));
    let mut cases = Vec::new();
    for pattern in ["(", "a)|(b", "[", "a{2,1}", r"(a)\1", "(?=a)", "(a{200}){200}"] {
        let path = with_path(PathMatch::Regex(pattern.into()));
        cases.push((http, format!("path: {{type: RegularExpression, value: '{pattern}'}}"), path));
        let condition = format!("[{{type: RegularExpression, name: x-a, value: '{pattern}'}}]");
        let header = Match { headers: vec![("x-a".parse().unwrap(), regex(pattern))], ..Match::default() };
        cases.push((http, format!("headers: {condition}"), header.clone()));
        cases.push((grpc_kind, format!("headers: {condition}"), header));
        let query = Match { query: vec![("x-a".into(), regex(pattern))], ..Match::default() };
        cases.push((http, format!("queryParams: {condition}"), query));
        let method = |service: &str, method: &str| {
            format!("method: {{type: RegularExpression, service: '{service}', method: '{method}'}}")
        };
        cases.push((grpc_kind, method(pattern, "Get"), grpc(pattern, "Get")));
        cases.push((grpc_kind, method("shop", pattern), grpc("shop", pattern)));
    }
    let too_long = format!("/{}", "x".repeat(1024));
    for path in [
        "",
        "a",
        "*",
        "/a/../b",
        "/%2e%2E/b",
        "/..;x/b",
        "/a%2fb",
        "/a%5Cb",
        "/a%00",
        "/a%zz",
        "/a?b",
        "/a b",
        "/ä",
        &too_long,
    ] {
        let exact = with_path(PathMatch::Exact(path.into()));
        cases.push((http, format!("path: {{type: Exact, value: '{path}'}}"), exact));
        let prefix = with_path(PathMatch::Prefix(path.into()));
        cases.push((http, format!("path: {{type: PathPrefix, value: '{path}'}}"), prefix));
    }
    for ((kind, model_kind), condition, model) in cases {
        let expected = compile_error(model_kind, model, Vec::new());
        let spec = format!("  rules: [{{matches: [{{{condition}}}]}}, {{backendRefs: [{{name: v1, port: 80}}]}}]\n");
        let shop = service("web", "10.96.0.1") + &service("v1", "10.96.0.2");
        let snapshot = snapshot(&(shop + &route(kind, "r", "web", &spec)));

        let told = problems(&snapshot);

        assert_eq!(told.len(), 1, "{condition}: {told:?}");
        assert_eq!(told[0].reason, format!("rule 0 is dropped: {expected}"), "{condition}");
    }
}

#[test]
fn a_filter_that_a_sidecar_would_refuse_is_told_in_the_sidecars_words() {
    let modifier = |name: &str| HeaderModifier { remove: vec![name.parse().unwrap()], ..HeaderModifier::default() };
    let redirect = |scheme: Option<&str>, hostname: Option<&str>, path: Option<PathModifier>| {
        let (scheme, hostname) = (scheme.map(Into::into), hostname.map(Into::into));
        Filter::Redirect(model::Redirect { scheme, hostname, path, port: None, status: http::StatusCode::FOUND })
    };
    let rewrite = |hostname: Option<&str>, path| {
        Filter::Rewrite(model::Rewrite { hostname: hostname.map(|name| name.parse().unwrap()), path })
    };
    for (yaml, model) in [
        (
            "type: RequestHeaderModifier, requestHeaderModifier: {remove: [Host]}",
            Filter::RequestHeaders(modifier("host")),
        ),
        (
            "type: ResponseHeaderModifier, responseHeaderModifier: {remove: [TE]}",
            Filter::ResponseHeaders(modifier("te")),
        ),
        ("type: RequestRedirect, requestRedirect: {scheme: ftp}", redirect(Some("ftp"), None, None)),
        ("type: RequestRedirect, requestRedirect: {hostname: 'a:80'}", redirect(None, Some("a:80"), None)),
        (
            "type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /a%2fb}}",
            redirect(None, None, Some(PathModifier::ReplaceFull("/a%2fb".into()))),
        ),
        ("type: URLRewrite, urlRewrite: {hostname: 'a b'}", rewrite(Some("a b"), None)),
        (
            "type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /a/../b}}",
            rewrite(None, Some(PathModifier::ReplacePrefix("/a/../b".into()))),
        ),
    ] {
        let expected = compile_error(RouteKind::Http, Match::default(), vec![model]);
        let shop = service("web", "10.96.0.1") + &service("v1", "10.96.0.2");
        let spec = format!("  rules: [{{filters: [{{{yaml}}}]}}, {{backendRefs: [{{name: v1, port: 80}}]}}]\n");
        let of_rule = snapshot(&(shop.clone() + &route("HTTPRoute", "r", "web", &spec)));
        assert_eq!(
            problems(&of_rule)[0].reason,
            format!("rule 0 is refused, its requests get an error: {expected}"),
            "{yaml}"
        );

        if yaml.contains("RequestRedirect") {
            continue;
        }
        let spec = format!("  rules: [{{backendRefs: [{{name: v1, port: 80, filters: [{{{yaml}}}]}}]}}]\n");
        let of_backend = snapshot(&(shop + &route("HTTPRoute", "r", "web", &spec)));
        let reason = format!("rule 0 is refused, its requests get an error: backendRefs[0].{expected}");
        assert_eq!(problems(&of_backend)[0].reason, reason, "{yaml}");
    }
}

#[test]
fn a_backend_that_cannot_be_read_is_named_as_the_route_names_it() {
    let filter = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: ['a b']}}";
    let spec =
        format!("  rules: [{{backendRefs: [{{name: v1, port: 80}}, {{name: v1, port: 80, filters: [{filter}]}}]}}]\n");
    let shop = service("web", "10.96.0.1") + &service("v1", "10.96.0.2");

    let told = problems(&snapshot(&(shop + &route("HTTPRoute", "r", "web", &spec))));

    let field = "backendRefs[1].filters[0].name: `a b` is not a header name";
    assert_eq!(told[0].reason, format!("rule 0 is refused, its requests get an error: {field}"));
}
