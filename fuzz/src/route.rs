//! The index of routes against one that looks at every match of every rule, and sorts by the Gateway API's precedence.

use std::cmp::Reverse;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use http::{HeaderName, Method};
use outrigger_proto::model::{Match, PathMatch, RouteId, RouteKind, RouteSet, Rule, StringMatch};
use outrigger_routing::{RequestView, RouteTable, normalize};

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Vec<Vec<MadeMatch>>,
    requests: Vec<MadeRequest>,
}

#[derive(Arbitrary, Debug)]
struct MadeMatch {
    path: MadePath,
    method: Option<u8>,
    headers: [Option<u8>; 3],
    query: [Option<u8>; 2],
}

#[derive(Arbitrary, Debug)]
enum MadePath {
    Any,
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct MadeRequest {
    method: u8,
    path: Vec<u8>,
    headers: [Option<u8>; 3],
    query: [Option<u8>; 2],
}

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::PUT];
static HEADERS: [HeaderName; 3] =
    [HeaderName::from_static("x-a"), HeaderName::from_static("x-b"), HeaderName::from_static("accept")];
const QUERY: [&str; 2] = ["p", "q"];
const VALUES: [&str; 3] = ["1", "2", "one"];
const SEGMENTS: [&str; 6] = ["", "a", "b", "ab", "a.b", "%61"];

/// Runs the target.
///
/// # Panics
/// When the two find different rules.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let set = routes(&input.rules);
    let table = RouteTable::compile(&set, |_| ()).expect("nothing here cannot be used");
    for request in input.requests.iter().take(20) {
        let parts = parts(request);
        let found = table.find(&RequestView::from(&parts));
        let found = found.and_then(|found| table.rules().iter().position(|rule| Arc::ptr_eq(rule, found.rule)));
        assert_eq!(found, naive(&set, request, parts.uri.path()), "{parts:?} {set:#?}");
    }
}

fn path(segments: &[u8]) -> String {
    let segments = segments.iter().take(6).map(|segment| SEGMENTS[usize::from(*segment) % SEGMENTS.len()]);
    let path: String = segments.flat_map(|segment| ["/", segment]).collect();
    normalize(if path.is_empty() { "/" } else { &path }).expect("nothing here is refused").into_owned()
}

fn value(index: u8) -> &'static str {
    VALUES[usize::from(index) % VALUES.len()]
}

fn routes(rules: &[Vec<MadeMatch>]) -> RouteSet {
    let exact = |index: u8| StringMatch::Exact(value(index).into());
    let id = Arc::new(RouteId { kind: RouteKind::Http, namespace: "shop".into(), name: "r".into() });
    let rules = rules.iter().take(12).enumerate().map(|(index, matches)| Rule {
        route: id.clone(),
        index: u32::try_from(index).unwrap_or(0),
        name: "".into(),
        matches: matches
            .iter()
            .take(4)
            .map(|made| Match {
                path: match &made.path {
                    MadePath::Any => None,
                    MadePath::Exact(segments) => Some(PathMatch::Exact(path(segments).into())),
                    MadePath::Prefix(segments) => Some(PathMatch::Prefix(path(segments).into())),
                },
                method: made.method.map(|method| METHODS[usize::from(method) % METHODS.len()].clone()),
                headers: HEADERS
                    .iter()
                    .zip(made.headers)
                    .filter_map(|(name, value)| Some((name.clone(), exact(value?))))
                    .collect(),
                query: QUERY
                    .iter()
                    .zip(made.query)
                    .filter_map(|(name, value)| Some(((*name).into(), exact(value?))))
                    .collect(),
            })
            .collect(),
        filters: Vec::new(),
        backends: Vec::new(),
        request_timeout: None,
        attempt_timeout: None,
        retry: None,
        session: None,
    });
    RouteSet { kind: RouteKind::Http, rules: rules.collect() }
}

fn parts(request: &MadeRequest) -> http::request::Parts {
    let query: Vec<String> =
        QUERY.iter().zip(request.query).filter_map(|(name, index)| Some(format!("{name}={}", value(index?)))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let mut built = http::Request::builder()
        .method(&METHODS[usize::from(request.method) % METHODS.len()])
        .uri(format!("{}{query}", path(&request.path)));
    for (name, index) in HEADERS.iter().zip(request.headers) {
        if let Some(index) = index {
            built = built.header(name, value(index));
        }
    }
    built.body(()).expect("nothing here is no request").into_parts().0
}

/// The rule of the best match: the whole of the Gateway API's precedence in one key.
fn naive(set: &RouteSet, request: &MadeRequest, path: &str) -> Option<usize> {
    let everything = [Match::default()];
    let mut best = None;
    for (rule, place) in set.rules.iter().zip(0..) {
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for candidate in matches.iter().filter(|candidate| fits(candidate, request, path)) {
            let (kind, length) = match &candidate.path {
                Some(PathMatch::Exact(_)) => (2, 0),
                Some(PathMatch::Prefix(prefix)) => (1, prefix.strip_suffix('/').unwrap_or(prefix).len()),
                Some(PathMatch::Regex(_) | PathMatch::Grpc { .. }) | None => (1, 0),
            };
            let counts = (candidate.method.is_some(), candidate.headers.len(), candidate.query.len());
            let key = (kind, length, counts, Reverse(place));
            if best.is_none_or(|best| key > best) {
                best = Some(key);
            }
        }
    }
    best.map(|(.., Reverse(place))| place)
}

fn fits(candidate: &Match, request: &MadeRequest, path: &str) -> bool {
    let is = |wanted: &StringMatch, index: Option<u8>| matches!(wanted, StringMatch::Exact(text) if index.map(value) == Some(text));
    let fits_path = match &candidate.path {
        Some(PathMatch::Exact(exact)) => **exact == *path,
        Some(PathMatch::Prefix(prefix)) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        Some(PathMatch::Regex(_) | PathMatch::Grpc { .. }) => false,
        None => true,
    };
    let method = &METHODS[usize::from(request.method) % METHODS.len()];
    fits_path
        && candidate.method.as_ref().is_none_or(|wanted| wanted == method)
        && candidate.headers.iter().all(|(name, wanted)| {
            HEADERS.iter().position(|other| other == name).is_some_and(|at| is(wanted, request.headers[at]))
        })
        && candidate.query.iter().all(|(name, wanted)| {
            QUERY.iter().position(|other| *other == &**name).is_some_and(|at| is(wanted, request.query[at]))
        })
}
