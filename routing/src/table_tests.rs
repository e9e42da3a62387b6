//! The index against the rules of the Gateway API, and against a plain scan over random routes and requests.

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use outrigger_proto::model::{
    Backend, BackendRef, Filter, Match, PathMatch, PathModifier, Rewrite, RouteId, RouteKind, RouteSet, Rule,
    StringMatch,
};
use proptest::prelude::*;

use crate::{CompileError, RequestView, RouteTable};

fn rule(index: usize, matches: Vec<Match>) -> Rule {
    Rule {
        route: Arc::new(RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: "web".into() }),
        index: u32::try_from(index).unwrap(),
        name: "".into(),
        matches,
        filters: Vec::new(),
        backends: Vec::new(),
        request_timeout: None,
        attempt_timeout: None,
        retry: None,
        session: None,
    }
}

fn routes(rules: Vec<Vec<Match>>) -> RouteSet {
    let rules = rules.into_iter().enumerate().map(|(index, matches)| rule(index, matches)).collect();
    RouteSet { kind: RouteKind::Http, rules }
}

fn table(rules: Vec<Vec<Match>>) -> RouteTable<()> {
    RouteTable::compile(&routes(rules), |_| ()).unwrap()
}

/// Reads `GET ~/v[0-9]+ ?animal=whale version:one`: `=` starts an exact path, `/` a prefix, `~` a regex, and `@` a
/// gRPC service/method, where `*` is any and `~` starts a regex.
fn parse_match(text: &str) -> Match {
    let mut parsed = Match::default();
    for word in text.split_whitespace() {
        let value = |text: &str| match text.strip_prefix('~') {
            Some(pattern) => StringMatch::Regex(pattern.into()),
            None => StringMatch::Exact(text.into()),
        };
        if let Some(path) = word.strip_prefix('=') {
            parsed.path = Some(PathMatch::Exact(path.into()));
        } else if let Some(pattern) = word.strip_prefix('~') {
            parsed.path = Some(PathMatch::Regex(pattern.into()));
        } else if word.starts_with('/') {
            parsed.path = Some(PathMatch::Prefix(word.into()));
        } else if let Some(grpc) = word.strip_prefix('@') {
            let part = |text: &str| (text != "*").then(|| value(text));
            let (service, method) = grpc.split_once('/').unwrap();
            parsed.path = Some(PathMatch::Grpc { service: part(service), method: part(method) });
        } else if let Some(query) = word.strip_prefix('?') {
            let (name, text) = query.split_once('=').unwrap();
            parsed.query.push((name.into(), value(text)));
        } else if let Some((name, text)) = word.split_once(':') {
            parsed.headers.push((name.parse().unwrap(), value(text)));
        } else {
            parsed.method = Some(word.parse().unwrap());
        }
    }
    parsed
}

struct Request {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Request {
    /// Reads `POST /path?query name:value`.
    fn parse(text: &str) -> Self {
        let mut request = Self { method: Method::GET, path: "/".to_owned(), query: None, headers: HeaderMap::new() };
        for word in text.split_whitespace() {
            if word.starts_with('/') || word == "*" {
                let (path, query) = word.split_once('?').map_or((word, None), |(path, query)| (path, Some(query)));
                request.path = path.to_owned();
                request.query = query.map(str::to_owned);
            } else if let Some((name, value)) = word.split_once(':') {
                request.headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            } else {
                request.method = word.parse().unwrap();
            }
        }
        request
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            authority: None,
            headers: &self.headers,
        }
    }
}

/// Rule index of the match found for each request; `-` for none.
fn check(rules: &[&[&str]], requests: &[(&str, &str)]) {
    let parsed = rules.iter().map(|matches| matches.iter().map(|text| parse_match(text)).collect()).collect();
    let table = table(parsed);
    for (request, want) in requests {
        let found = table.find(&Request::parse(request).view());
        let got = found.map_or_else(|| "-".to_owned(), |found| found.rule.index.to_string());
        assert_eq!(got, *want, "{request} in {rules:?}");
    }
}

#[test]
fn official_mesh_matching_cases() {
    let rules: &[&[&str]] = &[&["/", "version:one"], &["/v2", "version:two"]];
    check(
        rules,
        &[
            ("/", "0"),
            ("/example", "0"),
            ("/ version:one", "0"),
            ("/v2example", "0"),
            ("/foo/v2/example", "0"),
            ("/v2", "1"),
            ("/v2/", "1"),
            ("/v2/example", "1"),
            ("/ version:two", "1"),
        ],
    );
}

#[test]
fn official_mesh_query_cases() {
    let rules: &[&[&str]] = &[
        &["?animal=whale"],
        &["?animal=dolphin"],
        &["/path1 ?animal=whale", "version:one ?animal=whale"],
        &["/path3 ?animal=shark", "/path4 ?animal=kraken version:three"],
        &["/path5"],
        &["?animal=hydra"],
    ];
    check(
        rules,
        &[
            ("/?animal=whale", "0"),
            ("/?animal=dolphin", "1"),
            ("/?animal=whale&otherparam=irrelevant", "0"),
            ("/?color=blue", "-"),
            ("/?animal=dog", "-"),
            ("/?animal=whaledolphin", "-"),
            ("/", "-"),
            ("/path1?animal=whale", "2"),
            ("/?animal=whale version:one", "2"),
            ("/path3?animal=shark", "3"),
            ("/path4?animal=kraken version:three", "3"),
            ("/?animal=shark", "-"),
            ("/path4?animal=kraken", "-"),
            ("/path5?animal=hydra", "4"),
        ],
    );
}

#[test]
fn a_more_specific_path_wins_whatever_else_matches() {
    check(
        &[&["/a x:1 ?q=1"], &["GET /a/b x:1"], &["=/a/b"]],
        &[("/a/b?q=1 x:1", "2"), ("/a/b/?q=1 x:1", "1"), ("/a/c?q=1 x:1", "0"), ("/a/b/", "-")],
    );
    check(&[&["/"], &["~/a/[a-z]+ GET x:1"], &["/a"]], &[("/a/b x:1", "2"), ("/a x:1", "2"), ("/", "0")]);
}

#[test]
fn a_regex_comes_after_prefixes_and_before_the_catch_all() {
    check(
        &[&["GET / x:1 ?q=1"], &["~/a/[0-9]+"], &["/a/1"]],
        &[("/a/7?q=1 x:1", "1"), ("/a/1", "2"), ("/a/x?q=1 x:1", "0"), ("/a/7/x", "-")],
    );
    check(
        &[&["~/.*"], &["~/a GET"], &["~/a x:1 x2:2"]],
        &[("/a x:1 x2:2", "1"), ("POST /a x:1 x2:2", "2"), ("/b", "0")],
    );
}

#[test]
fn then_the_method_then_headers_then_query_then_the_order_given() {
    check(&[&["/a x:1 y:2 ?q=1"], &["/a GET"]], &[("/a?q=1 x:1 y:2", "1"), ("POST /a?q=1 x:1 y:2", "0")]);
    check(&[&["/a ?q=1 ?r=1 x:1"], &["/a x:1 y:2"]], &[("/a?q=1&r=1 x:1 y:2", "1"), ("/a?q=1&r=1 x:1", "0")]);
    check(&[&["/a ?q=1"], &["/a ?q=1 ?r=1"]], &[("/a?q=1&r=1", "1"), ("/a?q=1", "0")]);
    check(&[&["/a x:~.*"], &["/a x:1"]], &[("/a x:1", "0")]);
    check(&[&["/a x:2"], &["/a"], &["/a"]], &[("/a", "1")]);
    check(&[&["=/a"], &["=/a GET"]], &[("/a", "1"), ("POST /a", "0")]);
    // Of two conditions on one header only the first counts, for precedence too.
    check(&[&["/a x:1"], &["/a x:1 x:2"]], &[("/a x:1", "0")]);
}

#[test]
fn methods_are_compared_with_regard_to_case() {
    check(&[&["GET"]], &[("GET /", "0"), ("get /", "-"), ("GeT /", "-"), ("POST /", "-"), ("PURGE /", "-")]);
}

#[test]
fn prefixes_are_of_whole_elements_and_a_trailing_slash_does_not_count() {
    for prefix in ["/a/b", "/a/b/"] {
        check(
            &[&[prefix]],
            &[
                ("/a/b", "0"),
                ("/a/b/", "0"),
                ("/a/b//", "0"),
                ("/a/b/c/d/e/f/g", "0"),
                ("/a/bc", "-"),
                ("/a", "-"),
                ("/a//b", "-"),
                ("//a/b", "-"),
                ("/A/b", "-"),
                ("/", "-"),
            ],
        );
    }
    check(&[&["=/a/"]], &[("/a/", "0"), ("/a", "-"), ("/a/b", "-")]);
    check(&[&["/"]], &[("/", "0"), ("/x", "0"), ("//", "0"), ("*", "0")]);
    check(&[&[]], &[("/x", "0")]);
}

#[test]
fn grpc_takes_the_longest_service_then_the_longest_method_then_more_headers() {
    let rules: &[&[&str]] = &[
        &["@*/*"],
        &["@*/Get"],
        &["@~shop[.].*/*"],
        &["@shop.Cart/*"],
        &["@shop.Cart/~G.*"],
        &["@shop.Cart/Get"],
        &["@shop.Cart/Get x:1"],
        &["@*/* x:1"],
    ];
    check(
        rules,
        &[
            ("POST /shop.Cart/Get", "5"),
            ("POST /shop.Cart/Get x:1", "6"),
            ("POST /shop.Cart/Give x:1", "4"),
            ("POST /shop.Cart/Add x:1", "3"),
            ("POST /shop.Web/Get", "2"),
            ("POST /other/Get", "1"),
            ("POST /other/Put", "0"),
            ("POST /other/Put x:1", "7"),
        ],
    );
    check(&[&["@shop.Cart/*"], &["@*/Get"]], &[("/shop.Cart", "-"), ("/shop.Cart/a/b", "-"), ("/a/b/Get", "-")]);
}

#[test]
fn says_which_match_was_met() {
    let table = table(vec![vec![parse_match("=/x"), parse_match("/items/"), parse_match("~/r.*"), parse_match("GET")]]);
    for (request, place, prefix, pattern) in
        [("/x", 0, 0, "/x"), ("/items/7", 1, 6, "/items/"), ("/r1", 2, 0, "/r.*"), ("/y", 3, 0, "")]
    {
        let request = Request::parse(request);
        let found = table.find(&request.view()).unwrap();
        assert_eq!((found.matched.place, found.matched.prefix), (place, prefix), "{}", request.path);
        assert_eq!(found.rule.pattern(found.matched), pattern);
    }
}

#[test]
fn finds_nothing_without_rules() {
    check(&[], &[("/", "-")]);
}

#[test]
fn names_the_route_rule_and_field_that_cannot_be_used() {
    let error = |text: &str| {
        let routes = routes(vec![vec![parse_match("/")], vec![parse_match("/"), parse_match(text)]]);
        RouteTable::compile(&routes, |_| ()).unwrap_err()
    };
    for (text, field) in [
        ("~(", "matches[1].path.value"),
        ("x:1 y:~(", "matches[1].headers[1].value"),
        ("?q=~(", "matches[1].queryParams[0].value"),
        ("@~(/Get", "matches[1].method.service"),
        ("@shop/~(", "matches[1].method.method"),
        ("=a", "matches[1].path.value"),
        ("=*", "matches[1].path.value"),
        ("/a%2fb", "matches[1].path.value"),
        ("/a/../b", "matches[1].path.value"),
    ] {
        let CompileError { route, field: got, .. } = error(text);
        assert_eq!((&*route, &*got), ("HTTPRoute/shop/web/1", field), "{text}");
    }
    let shown = error("~(").to_string();
    assert!(
        shown.starts_with(
            "HTTPRoute/shop/web/1: matches[1].path.value: `(` is not a regular expression: unclosed group"
        ),
        "{shown}"
    );
}

#[test]
fn a_prefix_is_replaced_only_where_one_is_matched() {
    let replace =
        || vec![Filter::Rewrite(Rewrite { hostname: None, path: Some(PathModifier::ReplacePrefix("/x".into())) })];
    let of_backend = Backend { to: BackendRef::Invalid("gone".into()), weight: 1, filters: replace() };
    for (text, usable) in [("/a", true), ("GET", true), ("=/a", false), ("~/a", false), ("@a/b", false)] {
        let matches = || vec![parse_match("/b"), parse_match(text)];
        for rule in [
            Rule { filters: replace(), ..rule(0, matches()) },
            Rule { backends: vec![of_backend.clone()], ..rule(0, matches()) },
        ] {
            let routes = RouteSet { kind: RouteKind::Http, rules: vec![rule] };
            assert_eq!(RouteTable::compile(&routes, |_| ()).is_ok(), usable, "{text}");
        }
    }
}

#[test]
fn a_path_of_slashes_costs_no_more_probes_than_rules_are_deep() {
    check(&[&["/a/b"]], &[(&"/".repeat(60_000), "-"), (&format!("/a/b{}", "/".repeat(60_000)), "0")]);
}

/// The Gateway API's text, match by match, with nothing in common with the index.
fn scan(routes: &RouteSet, request: &RequestView<'_>) -> Option<(u32, u16)> {
    let mut best = None;
    for rule in &routes.rules {
        let any = vec![Match::default()];
        let matches = if rule.matches.is_empty() { &any } else { &rule.matches };
        for (place, one) in matches.iter().enumerate() {
            let Some(path) = path_rank(one.path.as_ref(), request.path) else { continue };
            let method = one.method.as_ref().is_none_or(|m| m == request.method);
            let headers = one.headers.iter().all(|(name, value)| {
                request.headers.get(name).is_some_and(|v| text_matches(value, v.to_str().unwrap()))
            });
            let query = one.query.iter().all(|(name, value)| {
                let mut pairs = request.query.unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| *key == &**name).is_some_and(|(_, v)| text_matches(value, v))
            });
            if method && headers && query {
                let rank = (path, one.method.is_some(), one.headers.len(), one.query.len());
                // On a tie the smaller index is the greater.
                best = best.max(Some((rank, Reverse((rule.index, u16::try_from(place).unwrap())))));
            }
        }
    }
    best.map(|(_, Reverse(found))| found)
}

fn text_matches(want: &StringMatch, text: &str) -> bool {
    match want {
        StringMatch::Exact(want) => **want == *text,
        StringMatch::Regex(pattern) => {
            let found = regex::Regex::new(pattern).unwrap().find(text);
            found.is_some_and(|found| found.range() == (0..text.len()))
        }
    }
}

/// Kind of condition, then how long its match is (twice, for gRPC).
fn path_rank(of: Option<&PathMatch>, path: &str) -> Option<(u8, usize, usize)> {
    let elements = |path: &str| -> Vec<String> {
        path.strip_suffix('/').unwrap_or(path).split('/').skip(1).map(str::to_owned).collect()
    };
    match of {
        None => Some((0, 0, 0)),
        Some(PathMatch::Exact(want)) => (**want == *path).then_some((3, 0, 0)),
        Some(PathMatch::Prefix(want)) => {
            let (want, have) = (elements(want), elements(path));
            let rank = if want.is_empty() { (0, 0, 0) } else { (2, want.join("/").len(), 0) };
            have.starts_with(&want).then_some(rank)
        }
        Some(PathMatch::Regex(pattern)) => {
            text_matches(&StringMatch::Regex(pattern.clone()), path).then_some((1, 0, 0))
        }
        Some(PathMatch::Grpc { service, method }) => {
            if service.is_none() && method.is_none() {
                return Some((0, 0, 0));
            }
            let [its_service, its_method] = &elements(path)[..] else { return None };
            let rank = |want: &Option<StringMatch>, text: &str| match want {
                None => Some(0),
                Some(want @ StringMatch::Regex(_)) => text_matches(want, text).then_some(1),
                Some(want @ StringMatch::Exact(exact)) => text_matches(want, text).then_some(1 + exact.len()),
            };
            Some((0, rank(service, its_service)?, rank(method, its_method)?))
        }
    }
}

/// Exact paths, prefixes, `/`, regular expressions and none.
const HTTP_PATHS: &str = "(=(/(a|b|ab)){1,3}/?|(/(a|b|ab)){1,3}/?|/|~/(a|b)([(]/[.][*][)][?])?|~/[.][*]b|)";

/// Few names, so that random rules and requests meet and overlap.
fn any_match(paths: &'static str) -> impl Strategy<Value = String> {
    let word = |pattern: &'static str| proptest::string::string_regex(pattern).unwrap();
    (word(paths), word("(GET|POST)?"), word("(x:(1|2|~1[|]3))?( y:1)?"), word("([?]q=(1|2|~1[|]3))?( [?]r=1)?"))
        .prop_map(|(path, method, headers, query)| format!("{path} {method} {headers} {query}"))
}

fn any_request(paths: &'static str) -> impl Strategy<Value = String> {
    let word = |pattern: &'static str| proptest::string::string_regex(pattern).unwrap();
    (word(paths), word("([?](q=[12]&?)?(r=1)?)?"), word("(GET|POST)"), word("(x:[12])?( y:1)?"))
        .prop_map(|(path, query, method, headers)| format!("{path}{query} {method} {headers}"))
}

fn agrees_with_scan(rules: &[Vec<String>], requests: &[String]) -> Result<(), TestCaseError> {
    let routes = routes(rules.iter().map(|matches| matches.iter().map(|text| parse_match(text)).collect()).collect());
    let table = RouteTable::compile(&routes, |_| ()).unwrap();
    for text in requests {
        let request = Request::parse(text);
        let found = table.find(&request.view()).map(|found| (found.rule.index, found.matched.place));
        prop_assert_eq!(found, scan(&routes, &request.view()), "{}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_index_finds_what_a_scan_of_http_rules_finds(
        rules in prop::collection::vec(prop::collection::vec(any_match(HTTP_PATHS), 0..4), 0..12),
        requests in prop::collection::vec(any_request("(/(a|b|ab)){1,4}/?|/"), 1..12),
    ) {
        agrees_with_scan(&rules, &requests)?;
    }

    #[test]
    fn the_index_finds_what_a_scan_of_grpc_rules_finds(
        rules in prop::collection::vec(prop::collection::vec(any_match("(@([*]|S|SS|~S[+])/([*]|M|MM|~M[+])|)"), 0..4), 0..12),
        requests in prop::collection::vec(any_request("/S{1,3}/M{1,3}"), 1..12),
    ) {
        agrees_with_scan(&rules, &requests)?;
    }

    #[test]
    fn whatever_the_path_normalizing_twice_changes_nothing_more(path in "/([a.%2eE/;]|%2e|[.]{2}){0,12}") {
        if let Ok(once) = crate::normalize(&path) {
            prop_assert_eq!(crate::normalize(&once).unwrap(), &*once);
        }
    }
}

/// Prints nanoseconds per lookup: `cargo test --release -- --ignored --nocapture measures_find`.
#[test]
#[ignore = "a measurement, not a test"]
fn measures_find() {
    for count in [10, 100, 1000] {
        let rules = |text: fn(usize) -> String| (0..count).map(|n| vec![parse_match(&text(n))]).collect::<Vec<_>>();
        let cases: [(&str, Vec<Vec<Match>>, &str); 5] = [
            ("exact", rules(|n| format!("=/api/v1/items{n}")), "/api/v1/items7"),
            ("prefix", rules(|n| format!("/api/v1/items{n}")), "/api/v1/items7/42/details"),
            ("none", rules(|n| format!("/api/v1/items{n}")), "/api/v2/other/42/details"),
            ("header", rules(|n| format!("/api x-tenant:{n}")), "/api/v1 x-tenant:9"),
            ("no such header", rules(|n| format!("/api x-tenant:{n}")), "/api/v1 x-tenant:none"),
        ];
        for (name, rules, request) in cases {
            let table = table(rules);
            let mut request = Request::parse(request);
            for name in ["host", "user-agent", "accept", "x-request-id", "traceparent"] {
                request.headers.insert(name, HeaderValue::from_static("some-usual-value"));
            }
            let view = request.view();
            let mut times: Vec<u128> = (0..2000)
                .map(|_| {
                    let start = std::time::Instant::now();
                    for _ in 0..100 {
                        std::hint::black_box(table.find(std::hint::black_box(&view)));
                    }
                    start.elapsed().as_nanos() / 100
                })
                .collect();
            times.sort_unstable();
            eprintln!("{count} rules, {name}: median {} ns, p99 {} ns", times[1000], times[1980]);
        }
    }
}
