//! YAML in, resources out.

use outrigger_proto::wire::address::Target;
use outrigger_proto::wire::backend::Backend as To;
use outrigger_proto::wire::r#match::Path;
use outrigger_proto::{Key, MAX_UPDATE_BYTES, model, wire};
use prost::Message;

use super::{Published, closure, problems, resource};
use crate::fixture::{next, route, route_in, service, service_in, snapshot, workload};

fn get<M: Message + Default>(snapshot: &Published, key: &str) -> M {
    let resource = resource(snapshot, &key.parse().unwrap()).unwrap_or_else(|| panic!("{key} is not there"));
    M::decode(resource.value).unwrap()
}

/// The service `shop/web:80`, which must be one that sidecars accept.
fn web(snapshot: &Published) -> wire::Service {
    let service: wire::Service = get(snapshot, "service/shop/web/80");
    model::Service::try_from(service.clone()).unwrap();
    service
}

fn reasons(snapshot: &Published) -> Vec<String> {
    problems(snapshot).iter().map(ToString::to_string).collect()
}

fn shop() -> String {
    let services = service("web", "10.96.0.1") + &service("v1", "10.96.0.2") + &service("v2", "10.96.0.3");
    services + &workload("web-1", "web", "10.1.0.1") + &workload("v1-1", "v1", "10.1.0.2")
}

fn to(name: &str, port: u32) -> To {
    To::Service(wire::ServiceRef { namespace: "shop".to_owned(), name: name.to_owned(), port })
}

#[test]
fn an_address_is_a_service_port_a_workload_or_unknown() {
    let yaml = shop().replace("10.96.0.1", "10.96.0.1\n  clusterIPs: [10.96.0.1, 'fd00::1']");
    let snapshot = snapshot(&yaml);
    let target = |key: &str| get::<wire::Address>(&snapshot, key).target.unwrap();

    let web = wire::ServiceRef { namespace: "shop".to_owned(), name: "web".to_owned(), port: 80 };
    assert_eq!(target("address/10.96.0.1:80"), Target::Service(web.clone()));
    assert_eq!(target("address/[fd00::1]:80"), Target::Service(web.clone()));
    assert_eq!(target("address/[::ffff:10.96.0.1]:80"), Target::Service(web));
    let Target::Workload(workload) = target("address/10.1.0.1:8080") else { panic!("not a workload") };
    assert_eq!(workload.identity, "spiffe://mesh.local/ns/shop/sa/web");
    assert_eq!(workload.address, "10.1.0.1:8080");
    assert_eq!(workload.protocol(), wire::Protocol::Http, "by the service's port name");
    let Target::Workload(other) = target("address/10.1.0.1:1234") else { panic!("not a workload") };
    assert_eq!((other.address.as_str(), other.protocol()), ("10.1.0.1:1234", wire::Protocol::Detect));
    for unknown in ["address/10.96.0.1:81", "address/1.1.1.1:443", "address/10.1.0.1:0"] {
        assert_eq!(target(unknown), Target::Unknown(wire::Unknown {}), "{unknown}");
    }
}

#[test]
fn workloads_that_share_an_address_are_told_apart_by_their_ports() {
    let on = |name: &str, port: u16| {
        workload(name, name, "127.0.0.1")
            .replace("serviceAccountName", &format!("ports: [{{port: {port}}}], serviceAccountName"))
    };
    let snapshot = snapshot(&(on("a", 8001) + &on("b", 8002)));

    for (port, name) in [(8001, "a"), (8002, "b"), (9, "a")] {
        let address: wire::Address = get(&snapshot, &format!("address/127.0.0.1:{port}"));
        let Some(Target::Workload(workload)) = address.target else { panic!("not a workload") };
        assert_eq!(workload.workload, name);
    }
}

#[test]
fn endpoints_are_the_selected_workloads_at_their_target_ports() {
    let named = "{address: 10.1.0.9, zone: z1, meshed: false, ports: [{name: web, port: 8181, appProtocol: h2c}]}";
    let yaml = shop().replace("targetPort: 8080", "targetPort: web").replace("name: http, ", "name: x, ")
        + &workload("web-2", "web", "10.1.0.9").replace("{address: 10.1.0.9, serviceAccountName: web}", named);
    let snapshot = snapshot(&yaml);

    let endpoints: wire::Endpoints = get(&snapshot, "endpoints/shop/web/80/0");

    let golden = wire::Endpoint {
        address: "10.1.0.9:8181".to_owned(),
        identity: String::new(),
        namespace: "shop".to_owned(),
        workload: "web-2".to_owned(),
        zone: "z1".to_owned(),
        protocol: wire::Protocol::Http2.into(),
        ..wire::Endpoint::default()
    };
    assert_eq!(endpoints.endpoints, [golden], "web-1 has no port of that name");
    let admin: wire::Endpoints = get(&snapshot, "endpoints/shop/web/9000/0");
    assert_eq!(admin.endpoints.len(), 2, "without targetPort it is the port itself");
    assert_eq!(resource(&snapshot, &"endpoints/shop/web/80/1".parse().unwrap()), None);
    assert_eq!(resource(&snapshot, &"endpoints/shop/web/81/0".parse().unwrap()), None);
}

#[test]
fn a_route_becomes_a_service_with_rules() {
    let spec = "  rules:
  - name: canary
    matches:
    - path: {type: PathPrefix, value: /items}
      method: GET
      headers: [{name: X-Canary, value: 'yes'}, {type: RegularExpression, name: cookie, value: '.*u=1.*'}]
      queryParams: [{name: q, value: a}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}
    - type: URLRewrite
      urlRewrite: {hostname: inner, path: {type: ReplacePrefixMatch, replacePrefixMatch: /things}}
    backendRefs:
    - {name: v1, port: 80, weight: 90}
    - name: v2
      port: 80
      weight: 10
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: v, value: '2'}]}}]
    timeouts: {request: 1m30s, backendRequest: 500ms}
    retry: {codes: [503, 504], backoff: 10ms}
    sessionPersistence: {type: Header, header: {name: x-session}, absoluteTimeout: 1h}
";
    let snapshot = snapshot(&(shop() + &route("HTTPRoute", "split", "web", spec)));

    let header = |name: &str, value: &str| wire::Header { name: name.to_owned(), value: value.to_owned() };
    let exact = |name: &str, value: &str| wire::ValueMatch {
        name: name.to_owned(),
        value: Some(wire::value_match::Value::Exact(value.to_owned())),
    };
    let filter = |filter| wire::Filter { filter: Some(filter) };
    let rule = wire::Rule {
        route: Some(wire::RouteRef {
            kind: wire::RouteKind::Http.into(),
            namespace: "shop".to_owned(),
            name: "split".to_owned(),
        }),
        index: 0,
        name: "canary".to_owned(),
        matches: vec![wire::Match {
            path: Some(Path::PathPrefix("/items".to_owned())),
            method: "GET".to_owned(),
            headers: vec![
                exact("X-Canary", "yes"),
                wire::ValueMatch {
                    name: "cookie".to_owned(),
                    value: Some(wire::value_match::Value::Regex(".*u=1.*".to_owned())),
                },
            ],
            query: vec![exact("q", "a")],
        }],
        filters: vec![
            filter(wire::filter::Filter::RequestHeaders(wire::HeaderModifier {
                set: vec![header("a", "b")],
                add: vec![header("c", "d")],
                remove: vec!["e".to_owned()],
            })),
            filter(wire::filter::Filter::Rewrite(wire::Rewrite {
                hostname: "inner".to_owned(),
                path: Some(wire::PathModifier {
                    path: Some(wire::path_modifier::Path::ReplacePrefix("/things".to_owned())),
                }),
            })),
        ],
        backends: vec![
            wire::Backend { backend: Some(to("v1", 80)), weight: 90, filters: Vec::new() },
            wire::Backend {
                backend: Some(to("v2", 80)),
                weight: 10,
                filters: vec![filter(wire::filter::Filter::ResponseHeaders(wire::HeaderModifier {
                    set: vec![header("v", "2")],
                    ..wire::HeaderModifier::default()
                }))],
            },
        ],
        timeouts: Some(wire::Timeouts { request_ms: 90_000, backend_request_ms: 500 }),
        retry: Some(wire::Retry { codes: vec![503, 504], attempts: 1, backoff_ms: 10 }),
        session: Some(wire::Session {
            carrier: Some(wire::session::Carrier::Header("x-session".to_owned())),
            absolute_ms: 3_600_000,
            idle_ms: 0,
        }),
    };
    let golden = wire::Service {
        service: Some(wire::ServiceRef { namespace: "shop".to_owned(), name: "web".to_owned(), port: 80 }),
        protocol: wire::Protocol::Http.into(),
        routes: Some(wire::RouteSet { kind: wire::RouteKind::Http.into(), rules: vec![rule] }),
        consumers: Vec::new(),
        policy: None,
    };
    assert_eq!(web(&snapshot), golden);
    assert_eq!(reasons(&snapshot), Vec::<String>::new());
}

#[test]
fn grpc_methods_and_redirects_find_their_wire_form() {
    let grpc = "  rules: [{matches: [{method: {service: a.B, method: C}}, {method: {type: RegularExpression, service: 'a.*'}}, {}], \
                backendRefs: [{name: v1, port: 80}]}]\n";
    let snapshot_grpc = snapshot(&(shop() + &route("GRPCRoute", "r", "web", grpc)));
    let set = web(&snapshot_grpc).routes.unwrap();
    assert_eq!(set.kind(), wire::RouteKind::Grpc);
    let method = |regex, service: &str, method: &str| {
        Some(Path::Grpc(wire::GrpcMethod { regex, service: service.to_owned(), method: method.to_owned() }))
    };
    let paths: Vec<_> = set.rules[0].matches.iter().map(|one| one.path.clone()).collect();
    assert_eq!(paths, [method(false, "a.B", "C"), method(true, "a.*", ""), None]);

    let redirect = "  rules: [{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, port: 8443, \
                    path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}]\n";
    let snapshot = snapshot(&(shop() + &route("HTTPRoute", "r", "web", redirect)));
    let rule = web(&snapshot).routes.unwrap().rules.remove(0);
    assert_eq!(rule.backends, [], "a redirect needs none");
    assert_eq!(rule.matches[0].path, Some(Path::PathPrefix("/".to_owned())), "the prefix that it replaces");
    let Some(wire::filter::Filter::Redirect(redirect)) = &rule.filters[0].filter else { panic!("not a redirect") };
    assert_eq!((redirect.status, redirect.port, redirect.scheme.as_str()), (302, 8443, "https"));
}

#[test]
fn consumer_routes_take_the_place_of_producer_routes_for_their_namespace() {
    let parent = "{group: core, kind: Service, namespace: shop, name: web}";
    let rule =
        |backend: &str| format!("  rules: [{{backendRefs: [{{namespace: shop, name: {backend}, port: 80}}]}}]\n");
    let yaml = shop()
        + &route_in("shop", "HTTPRoute", "producer", parent, &rule("v1"))
        + &route_in("office", "HTTPRoute", "consumer", parent, &rule("v2"));
    let snapshot = snapshot(&yaml);

    let service = web(&snapshot);

    let backend = |set: &wire::RouteSet| set.rules[0].backends[0].backend.clone();
    assert_eq!(backend(service.routes.as_ref().unwrap()), Some(to("v1", 80)));
    assert_eq!(service.consumers.len(), 1);
    assert_eq!(service.consumers[0].namespace, "office");
    assert_eq!(backend(service.consumers[0].routes.as_ref().unwrap()), Some(to("v2", 80)));
    let keys: Vec<String> =
        closure(&snapshot, &"address/10.96.0.1:80".parse().unwrap()).iter().map(ToString::to_string).collect();
    let golden = [
        "address/10.96.0.1:80",
        "service/shop/web/80",
        "endpoints/shop/web/80/0",
        "endpoints/shop/v1/80/0",
        "endpoints/shop/v2/80/0",
    ];
    assert_eq!(keys, golden);
}

#[test]
fn the_strongest_kind_of_route_wins_and_the_others_are_told() {
    let rules = "  rules: [{backendRefs: [{name: v1, port: 80}]}]\n";
    let kinds = ["TCPRoute", "TLSRoute", "HTTPRoute", "GRPCRoute"];
    let winners = [wire::RouteKind::Tcp, wire::RouteKind::Tls, wire::RouteKind::Http, wire::RouteKind::Grpc];

    let mut yaml = shop();
    for (kind, winner) in kinds.into_iter().zip(winners) {
        yaml += &route(kind, &kind.to_lowercase(), "web", rules);
        let set = web(&snapshot(&yaml)).routes.unwrap();
        assert_eq!((set.kind(), set.rules.len()), (winner, 1));
    }

    let told = reasons(&snapshot(&yaml));
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], "HTTPRoute shop/httproute: Conflicted: a GRPCRoute has precedence on Service shop/web:80");
}

#[test]
fn rules_are_ordered_by_age_then_name_then_place() {
    let rules = "  rules: [{name: one, backendRefs: [{name: v1, port: 80}]}, {name: two, backendRefs: [{name: v1, port: 80}]}]\n";
    let dated = |name: &str, date: &str| {
        route("HTTPRoute", name, "web", rules)
            .replace("namespace: shop}\nspec", &format!("namespace: shop, creationTimestamp: '{date}'}}\nspec"))
    };
    let yaml = shop()
        + &route("HTTPRoute", "a", "web", rules)
        + &dated("young", "2026-02-01T00:00:00Z")
        + &dated("z-old", "2026-01-01T00:00:00Z")
        + &dated("b-old", "2026-01-01T00:00:00Z");

    let rules = web(&snapshot(&yaml)).routes.unwrap().rules;

    let order: Vec<String> =
        rules.iter().map(|rule| format!("{}.{}", rule.route.as_ref().unwrap().name, rule.name)).collect();
    let golden = ["b-old.one", "b-old.two", "z-old.one", "z-old.two", "young.one", "young.two", "a.one", "a.two"];
    assert_eq!(order, golden);
}

#[test]
fn a_route_attaches_to_the_ports_that_it_names() {
    let rules = "  rules: [{backendRefs: [{name: v1, port: 80}]}]\n";
    for (parent, on_80, on_9000) in [
        ("", true, true),
        (", port: 80", true, false),
        (", sectionName: admin", false, true),
        (", sectionName: admin, port: 9000", false, true),
        (", sectionName: admin, port: 80", false, false),
        (", port: 81", false, false),
    ] {
        let parent = format!("{{group: '', kind: Service, name: web{parent}}}");
        let snapshot = snapshot(&(shop() + &route_in("shop", "HTTPRoute", "r", &parent, rules)));
        let routed = |port: u16| get::<wire::Service>(&snapshot, &format!("service/shop/web/{port}")).routes.is_some();
        assert_eq!((routed(80), routed(9000)), (on_80, on_9000), "{parent}");
        assert_eq!(reasons(&snapshot).is_empty(), on_80 || on_9000, "{parent}");
    }
    for parent in ["{name: web}", "{group: '', kind: Pod, name: web}", "{group: '', kind: Service, name: none}"] {
        let snapshot = snapshot(&(shop() + &route_in("shop", "HTTPRoute", "r", parent, rules)));
        assert_eq!(web(&snapshot).routes, None, "{parent}");
    }
}

#[test]
fn backends_that_lead_nowhere_say_why_and_keep_their_share() {
    let spec = "  rules:
  - backendRefs:
    - {name: v1, port: 80}
    - {name: gone, port: 80, weight: 0}
    - {name: v1, port: 81}
    - {name: v1}
    - {kind: ServiceImport, group: multicluster.x-k8s.io, name: v1, port: 80}
    - {name: other, namespace: office, port: 80}
  - {}
";
    let yaml = shop() + &service_in("office", "other", "10.96.1.1") + &route("HTTPRoute", "r", "web", spec);
    let snapshot = snapshot(&yaml);

    let rules = web(&snapshot).routes.unwrap().rules;

    let backends: Vec<(u32, String)> = rules[0]
        .backends
        .iter()
        .map(|backend| match backend.backend.as_ref().unwrap() {
            To::Service(service) => (backend.weight, format!("{}/{}", service.namespace, service.name)),
            To::Invalid(why) => (backend.weight, why.clone()),
        })
        .collect();
    let golden = [
        (1, "shop/v1"),
        (0, "BackendNotFound: Service shop/gone does not exist"),
        (1, "BackendNotFound: Service shop/v1 has no port 81"),
        (1, "UnsupportedValue: backend Service shop/v1 needs a port"),
        (1, "InvalidKind: backend v1 is a ServiceImport, not a Service"),
        (1, "office/other"),
    ];
    assert_eq!(backends, golden.map(|(weight, text)| (weight, text.to_owned())));
    assert!(matches!(&rules[1].backends[0].backend, Some(To::Invalid(why)) if why == "the rule has no backends"));
    assert_eq!(reasons(&snapshot).len(), 4);
}

#[test]
fn both_forms_of_a_session_mean_the_same_and_a_cookie_without_a_name_keeps_the_one_it_gets() {
    let session = |yaml: &str, before: &str| {
        let spec =
            format!("  rules: [{before}{{backendRefs: [{{name: v1, port: 80}}], sessionPersistence: {yaml}}}]\n");
        let snapshot = snapshot(&(shop() + &route("GRPCRoute", "r", "web", &spec)));
        web(&snapshot).routes.unwrap().rules.pop().unwrap().session.unwrap()
    };
    let cookie = |session: wire::Session| match session.carrier {
        Some(wire::session::Carrier::Cookie(cookie)) => cookie,
        other => panic!("{other:?}"),
    };

    let old = session("{sessionName: a, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}", "");
    let new = session("{absoluteTimeout: 1h, cookie: {name: a, lifetimeType: Permanent}}", "");
    assert_eq!(old, new);
    assert_eq!(cookie(new), wire::SessionCookie { name: "a".into(), path: "/".into(), permanent: true });

    let name = |yaml: &str, before: &str| cookie(session(yaml, before)).name;
    assert!(name("{}", "").starts_with("outrigger-session-"));
    assert_eq!(name("{}", ""), name("{absoluteTimeout: 1h}", ""));
    assert_ne!(name("{}", ""), name("{}", "{backendRefs: [{name: v1, port: 80}]}, "), "another rule's is another");
}

fn mirror(rest: &str) -> String {
    format!("filters: [{{type: RequestMirror, requestMirror: {{{rest}}}}}]")
}

#[test]
fn mirrors_are_looked_up_as_backends_are_and_the_rule_goes_on_without_those_that_are_not_there() {
    use wire::filter::Filter;
    let spec = "  rules:
  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: other, namespace: office, port: 80}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}, percent: 30}}
    backendRefs:
    - name: v1
      port: 80
      filters:
      - {type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}, fraction: {numerator: 3, denominator: 7}}}
";
    let yaml = shop() + &service_in("office", "other", "10.96.1.1") + &route("HTTPRoute", "r", "web", spec);
    let snapshot = snapshot(&yaml);

    let rule = web(&snapshot).routes.unwrap().rules.remove(0);

    let told = |filter: &wire::Filter| match filter.filter.as_ref().unwrap() {
        Filter::Mirror(wire::Mirror { to: Some(wire::mirror::To::Service(to)), numerator, denominator }) => {
            format!("{}/{} {numerator}/{denominator}", to.namespace, to.name)
        }
        Filter::Mirror(wire::Mirror { to: Some(wire::mirror::To::Invalid(why)), .. }) => why.clone(),
        other => format!("{other:?}").chars().take(8).collect(),
    };
    let filters: Vec<String> = rule.filters.iter().chain(&rule.backends[0].filters).map(told).collect();
    let gone = "BackendNotFound: Service shop/gone does not exist";
    assert_eq!(filters, ["office/other 1/1", "RequestH", gone, "shop/v2 3/7"]);
    assert_eq!(rule.backends[0].backend, Some(to("v1", 80)));
    assert_eq!(reasons(&snapshot), [format!("HTTPRoute shop/r: rule 0: {gone}")]);
    let closure = closure(&snapshot, &"service/shop/web/80".parse().unwrap());
    for endpoints in ["endpoints/office/other/80/0", "endpoints/shop/v2/80/0"] {
        assert!(closure.contains(&endpoints.parse().unwrap()), "{endpoints} is to be told: {closure:?}");
    }
}

#[test]
fn a_backend_that_appears_later_is_found() {
    let spec = "  rules: [{backendRefs: [{name: late, port: 80}]}]\n";
    let before = snapshot(&(shop() + &route("HTTPRoute", "r", "web", spec)));
    assert!(matches!(web(&before).routes.unwrap().rules[0].backends[0].backend, Some(To::Invalid(_))));

    let after = next(&before, &service("late", "10.96.0.9"));

    assert_eq!(web(&after).routes.unwrap().rules[0].backends[0].backend, Some(to("late", 80)));
}

#[test]
fn what_is_valid_but_not_supported_is_refused_aloud() {
    let backend = "backendRefs: [{name: v1, port: 80}]";
    let on_items = "matches: [{path: {value: /items}}]";
    for (rule, reason) in [
        (&*mirror("backendRef: {name: v1, port: 80}, percent: 1, fraction: {numerator: 1}"), "not both"),
        (&mirror("backendRef: {name: v1, port: 80}, percent: 101"), "more than all"),
        ("filters: [{type: CORS, cors: {allowOrigins: [a.com]}}]", "`a.com` is neither"),
        ("filters: [{type: CORS, cors: {allowMethods: ['G T']}}]", "`G T`"),
        ("filters: [{type: ExtensionRef, extensionRef: {name: a}}]", "ExtensionRef"),
        ("sessionPersistence: {cookie: {lifetimeType: Permanent}}", "needs an absoluteTimeout"),
        ("sessionPersistence: {header: {name: a}}", "for type Header"),
        ("sessionPersistence: {type: Header, cookie: {}}", "for type Cookie"),
        ("sessionPersistence: {sessionName: a, cookie: {name: b}}", "say the same"),
        ("sessionPersistence: {sessionName: 'a;b'}", "not a cookie's name"),
        ("sessionPersistence: {type: Header, header: {name: Host}}", "another meaning"),
        ("timeouts: {request: 1s, backendRequest: 2s}", "longer than"),
        ("retry: {codes: [200]}", "not an error status"),
        ("filters: [{type: URLRewrite, urlRewrite: {hostname: 'a b'}}]", "host name"),
        ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: a}]}}]", "`host`"),
        ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [TE]}}]", "one connection"),
        ("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: ['a b']}}]", "not a header name"),
        ("filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]", "no backendRefs"),
    ] {
        let spec = format!("  rules: [{{{on_items}, {backend}, {rule}}}, {{{backend}}}]\n");
        let snapshot = snapshot(&(shop() + &route("HTTPRoute", "r", "web", &spec)));

        let rules = web(&snapshot).routes.unwrap().rules;

        let [refused, kept] = &rules[..] else { panic!("{} rules", rules.len()) };
        assert_eq!(refused.matches[0].path, Some(Path::PathPrefix("/items".to_owned())), "still for the same requests");
        assert_eq!(refused.filters, []);
        assert!(matches!(&refused.backends[0].backend, Some(To::Invalid(why)) if why.contains(reason)), "{refused:?}");
        assert_eq!(kept.backends[0].backend, Some(to("v1", 80)));
        assert!(reasons(&snapshot)[0].contains("rule 0 is refused"), "{:?}", reasons(&snapshot));
    }
}

#[test]
fn a_rule_whose_requests_cannot_be_told_is_dropped_aloud() {
    for condition in [
        "path: {type: RegularExpression, value: '('}",
        "path: {type: RegularExpression, value: 'a)|(b'}",
        "path: {type: RegularExpression, value: '(a{200}){200}'}",
        "path: {value: items}",
        "path: {value: /a/../b}",
        "method: 'G T'",
        "headers: [{name: 'a b', value: c}]",
    ] {
        let spec = format!("  rules: [{{matches: [{{{condition}}}]}}, {{backendRefs: [{{name: v1, port: 80}}]}}]\n");
        let snapshot = snapshot(&(shop() + &route("HTTPRoute", "r", "web", &spec)));

        assert_eq!(web(&snapshot).routes.unwrap().rules.len(), 1, "{condition}");
        assert!(reasons(&snapshot)[0].contains("rule 0 is dropped"), "{:?}", reasons(&snapshot));
    }
}

#[test]
fn routes_that_are_too_large_become_an_error_that_says_so() {
    let value = "x".repeat(MAX_UPDATE_BYTES);
    let spec = format!(
        "  rules: [{{matches: [{{headers: [{{name: a, value: {value}}}]}}], backendRefs: [{{name: v1, port: 80}}]}}]\n"
    );
    let snapshot = snapshot(&(shop() + &route("HTTPRoute", "r", "web", &spec)));

    let rules = web(&snapshot).routes.unwrap().rules;

    assert_eq!(rules.len(), 1);
    assert!(matches!(&rules[0].backends[0].backend, Some(To::Invalid(why)) if why.contains("larger than")));
}

#[test]
fn a_workload_is_named_and_guarded_by_its_labels_and_annotations() {
    let with = |meta: &str| workload("web-1", "web", "10.1.0.1").replace("labels: {app: web}", meta);
    let get = |yaml: &str| get::<wire::Workload>(&snapshot(yaml), "workload/shop/web-1");

    for (meta, name) in [
        ("labels: {}", "web-1"),
        ("labels: {app: a}", "a"),
        ("labels: {app: a, app.kubernetes.io/name: b}", "b"),
        ("labels: {app: a, app.kubernetes.io/name: b, app.kubernetes.io/instance: c}", "c"),
        ("labels: {app.kubernetes.io/instance: c}, annotations: {resource.opentelemetry.io/service.name: d}", "d"),
    ] {
        assert_eq!(get(&with(meta)).service_name, name);
    }
    let namespace = |mode: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop, annotations: {{config.outrigger.io/inbound: {mode}}}}}\n"
        )
    };
    let own = |mode: &str| with(&format!("annotations: {{config.outrigger.io/inbound: {mode}}}"));
    let plain = with("labels: {}");
    let (strict, permissive) = (wire::InboundMode::InboundStrict, wire::InboundMode::InboundPermissive);
    assert_eq!(get(&plain).mode(), permissive);
    assert_eq!(get(&(namespace("strict") + &plain)).mode(), strict);
    assert_eq!(get(&(namespace("strict") + &own("permissive"))).mode(), permissive);
    assert_eq!(get(&own("strict")).mode(), strict);
    assert_eq!(get(&own("Permissive")).mode(), strict, "not understood: closed");
    assert!(reasons(&snapshot(&own("Permissive")))[0].contains("neither strict nor permissive"));
}

#[test]
fn a_workload_knows_the_protocols_of_its_ports() {
    let yaml = shop()
        + &workload("db", "db", "10.1.0.5")
            .replace("serviceAccountName", "ports: [{name: mysql, port: 3306}, {port: 7}], serviceAccountName");
    let snapshot = snapshot(&yaml);

    let ports = |name: &str| get::<wire::Workload>(&snapshot, &format!("workload/shop/{name}")).ports;

    let port = |port, protocol: wire::Protocol| wire::WorkloadPort { port, protocol: protocol.into() };
    assert_eq!(ports("web-1"), [port(8080, wire::Protocol::Http)], "9000 is not declared");
    assert_eq!(ports("db"), [port(3306, wire::Protocol::Opaque)]);
}

#[test]
fn versions_are_the_same_in_every_process() {
    let snapshot = snapshot(&shop());

    let address = resource(&snapshot, &"address/10.96.0.1:80".parse().unwrap()).unwrap();

    assert_eq!(&address.value[..], b"\x0a\x0d\x0a\x04shop\x12\x03web\x18\x50");
    // The first eight bytes of what sha256sum says of them.
    assert_eq!(address.version, 0xf31b_3df9_43a3_572c);
}

#[test]
fn what_did_not_change_keeps_its_buffer() {
    let before = snapshot(&shop());
    let key = |text: &str| text.parse::<Key>().unwrap();
    let keys =
        ["mesh", "service/shop/web/80", "endpoints/shop/web/80/0", "endpoints/shop/v1/80/0", "workload/shop/web-1"];
    let old = keys.map(|text| resource(&before, &key(text)).unwrap());

    let after = next(&before, &workload("v1-2", "v1", "10.1.0.3"));

    for (text, old) in keys.into_iter().zip(old) {
        let new = resource(&after, &key(text)).unwrap();
        let changed = text == "endpoints/shop/v1/80/0";
        assert_eq!(new.version != old.version, changed, "{text}");
        assert_eq!(new.value.as_ptr() != old.value.as_ptr(), changed, "{text}");
    }
}

/// Replicas compare versions, and may have read the objects in any order.
#[test]
fn the_version_of_a_service_does_not_depend_on_the_order_of_events() {
    let spec = "  rules: [{backendRefs: [{name: v1, port: 80}, {name: v2, port: 80}]}]\n";
    let parent = "{group: '', kind: Service, namespace: shop, name: web}";
    let objects = [
        service("web", "10.96.0.1"),
        service("v1", "10.96.0.2"),
        service("v2", "10.96.0.3"),
        route("HTTPRoute", "a", "web", spec),
        route("HTTPRoute", "b", "web", spec),
        route_in("other", "HTTPRoute", "c", parent, spec),
        route_in("another", "HTTPRoute", "d", parent, spec),
    ];
    let key = "service/shop/web/80".parse().unwrap();

    let forth = resource(&snapshot(&objects.concat()), &key).unwrap();
    let back: String = objects.iter().rev().map(String::as_str).collect();

    assert_eq!(resource(&snapshot(&back), &key).unwrap(), forth);
}
