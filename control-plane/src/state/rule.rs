//! Turns a route's rules into wire rules, as far as that depends on the route alone; backends are resolved later.
//!
//! A rule that cannot be kept as written is refused. When it is clear which requests it was for, they get an error that
//! says why (Gateway API: a filter must not be skipped); when not, the rule is dropped. Either way a problem is noted.

use std::sync::Arc;

use outrigger_proto::model::{self, RouteKind};
use outrigger_proto::wire;
use outrigger_proto::wire::r#match::Path;
use outrigger_proto::wire::value_match::Value;

use super::{filter, path, session};
use crate::objects::{BackendRef, HttpMatch, Matches, NamedMatch, PathKind, Route, Rule, StringKind, Unread};

/// A route with its rules in wire form, but for the backends.
#[derive(Debug)]
pub struct PreparedRoute {
    /// As it was written.
    pub route: Arc<Route>,
    /// The rules that were kept or refused with an error for their requests.
    pub rules: Vec<PreparedRule>,
    /// What is written and means nothing to a mesh.
    pub ignored: Vec<String>,
    /// The rules that cannot be kept as written, each with the reason.
    pub refused: Vec<String>,
}

/// A rule in wire form, but for the backends.
#[derive(Debug)]
pub struct PreparedRule {
    /// The wire form without backends.
    pub wire: wire::Rule,
    /// What the backends shall be.
    pub backends: Result<Vec<PreparedBackend>, String>,
    /// Where the rule's mirrors lead, in the order of the filters.
    pub mirrors: Vec<BackendRef>,
}

/// A backend that has yet to be looked up.
#[derive(Debug)]
pub struct PreparedBackend {
    /// As it was written.
    pub reference: BackendRef,
    /// Its filters in wire form.
    pub filters: Vec<wire::Filter>,
    /// Where its mirrors lead, in the order of the filters.
    pub mirrors: Vec<BackendRef>,
}

impl PreparedRoute {
    /// Prepares all rules.
    #[must_use]
    pub fn new(route: Arc<Route>) -> Self {
        let (mut ignored, mut refused) = (Vec::new(), Vec::new());
        if !route.hostnames.is_empty() {
            ignored.push("hostnames are ignored: a Service is matched by address, never by name".to_owned());
        }
        ignored.extend(route.unread.iter().filter_map(|unread| match unread {
            Unread::Field(note) => Some(note.clone()),
            Unread::Rule { .. } => None,
        }));
        let mut rules = Vec::with_capacity(route.rules.len());
        for (index, rule) in route.rules.iter().enumerate() {
            let mut prepared = PreparedRule::new(&route, u32::try_from(index).unwrap_or(u32::MAX), rule);
            match (unread(&route, index), &mut prepared) {
                (Some((reason, false)), Ok(prepared)) => prepared.backends = Err(reason.to_owned()),
                (Some((reason, _)), _) => prepared = Err(reason.to_owned()),
                (None, _) => {}
            }
            match prepared {
                Ok(prepared) => {
                    if let Err(reason) = &prepared.backends {
                        refused.push(format!("rule {index} is refused, its requests get an error: {reason}"));
                    }
                    rules.push(prepared);
                }
                Err(reason) => refused.push(format!("rule {index} is dropped: {reason}")),
            }
        }
        Self { route, rules, ignored, refused }
    }
}

/// Says why a rule could not be read, and whether nothing of it could.
fn unread(route: &Route, rule: usize) -> Option<(&str, bool)> {
    route.unread.iter().find_map(|unread| match unread {
        Unread::Rule { index, reason, dropped } if *index == rule => Some((reason.as_str(), *dropped)),
        Unread::Rule { .. } | Unread::Field(_) => None,
    })
}

impl PreparedRule {
    /// Returns everything that the rule refers to: backends and mirrors.
    pub(crate) fn references(&self) -> impl Iterator<Item = &BackendRef> {
        let backends = self.backends.iter().flatten();
        backends.flat_map(|backend| std::iter::once(&backend.reference).chain(&backend.mirrors)).chain(&self.mirrors)
    }

    fn new(route: &Route, index: u32, rule: &Rule) -> Result<Self, String> {
        let reference = wire::RouteRef {
            kind: wire_kind(route.kind).into(),
            namespace: route.meta.namespace.to_string(),
            name: route.meta.name.to_string(),
        };
        let mut bare = wire::Rule {
            route: Some(reference),
            index,
            name: rule.name.clone(),
            matches: matches(&rule.matches)?,
            ..wire::Rule::default()
        };
        check(&bare)?;
        match full(&bare, route, rule) {
            Ok((wire, backends)) => Ok(Self { wire, backends: Ok(backends), mirrors: filter::mirrors(&rule.filters) }),
            Err(reason) => {
                // Only what says for whom it was stays.
                bare.filters.clear();
                Ok(Self { wire: bare, backends: Err(reason), mirrors: Vec::new() })
            }
        }
    }
}

fn full(bare: &wire::Rule, route: &Route, rule: &Rule) -> Result<(wire::Rule, Vec<PreparedBackend>), String> {
    let kind = route.kind;
    let filters = filter::of_rule(kind, rule)?;
    let request = rule.timeouts.request.unwrap_or_default();
    let attempt = rule.timeouts.backend_request.unwrap_or_default();
    if !request.is_zero() && attempt > request {
        return Err("timeouts.backendRequest is longer than timeouts.request".to_owned());
    }
    let millis = |limit: std::time::Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut wire = wire::Rule {
        filters,
        timeouts: Some(wire::Timeouts { request_ms: millis(request), backend_request_ms: millis(attempt) })
            .filter(|timeouts| *timeouts != wire::Timeouts::default()),
        ..bare.clone()
    };
    if let Some(retry) = &rule.retry {
        if let Some(code) = retry.codes.iter().find(|code| !(400..600).contains(*code)) {
            return Err(format!("retry.codes: {code} is not an error status"));
        }
        wire.retry = Some(wire::Retry {
            codes: retry.codes.iter().copied().map(u32::from).collect(),
            attempts: retry.attempts.unwrap_or(1),
            backoff_ms: millis(retry.backoff.unwrap_or_default()),
        });
    }
    let session = rule.session.as_ref().map(|session| session::prepared(route, rule, bare.index, session));
    wire.session = session.transpose()?;
    if filter::needs_prefix(rule) && wire.matches.is_empty() {
        // The default match, spelled out: the filter replaces what it matched.
        wire.matches.push(wire::Match { path: Some(Path::PathPrefix("/".to_owned())), ..wire::Match::default() });
    }
    check(&wire)?;
    let mut backends = Vec::with_capacity(rule.backends.len());
    for reference in &rule.backends {
        if reference.weight > MAX_WEIGHT {
            return Err(format!("backend {}: a weight is at most {MAX_WEIGHT}", reference.name));
        }
        let filters = filter::of_backend(kind, reference)?;
        for filter in &filters {
            model::Filter::try_from(filter.clone()).map_err(|e| format!("backend {}: {e}", reference.name))?;
        }
        let mirrors = filter::mirrors(&reference.filters);
        backends.push(PreparedBackend { reference: reference.clone(), filters, mirrors });
    }
    Ok((wire, backends))
}

/// Asks the sidecar's own parser, so that no sidecar has to refuse the resource later.
fn check(rule: &wire::Rule) -> Result<(), String> {
    model::Rule::try_from(rule.clone()).map(drop).map_err(|invalid| invalid.to_string())
}

/// Returns the wire's word for a kind.
#[must_use]
pub(crate) fn wire_kind(kind: RouteKind) -> wire::RouteKind {
    match kind {
        RouteKind::Http => wire::RouteKind::Http,
        RouteKind::Grpc => wire::RouteKind::Grpc,
        RouteKind::Tls => wire::RouteKind::Tls,
        RouteKind::Tcp => wire::RouteKind::Tcp,
    }
}

fn matches(matches: &Matches) -> Result<Vec<wire::Match>, String> {
    match matches {
        Matches::Http(matches) => matches.iter().map(http_match).collect(),
        Matches::Grpc(matches) => matches
            .iter()
            .map(|condition| {
                let path = condition.method.as_ref().map(|method| {
                    let regex = method.kind == StringKind::RegularExpression;
                    if regex {
                        regex_ok("method.service", &method.service)?;
                        regex_ok("method.method", &method.method)?;
                    }
                    let (service, method) = (method.service.clone(), method.method.clone());
                    Ok::<_, String>(Path::Grpc(wire::GrpcMethod { regex, service, method }))
                });
                let headers = named("headers", &condition.headers)?;
                Ok(wire::Match { path: path.transpose()?, headers, ..wire::Match::default() })
            })
            .collect(),
        Matches::All => Ok(Vec::new()),
    }
}

fn http_match(condition: &HttpMatch) -> Result<wire::Match, String> {
    let value = condition.path.value.clone();
    let path = match condition.path.kind {
        PathKind::Exact => {
            path::check(&value)?;
            Path::PathExact(value)
        }
        PathKind::PathPrefix => {
            path::check(&value)?;
            Path::PathPrefix(value)
        }
        PathKind::RegularExpression => {
            regex_ok("path", &value)?;
            Path::PathRegex(value)
        }
    };
    Ok(wire::Match {
        path: Some(path),
        method: condition.method.clone().unwrap_or_default(),
        headers: named("headers", &condition.headers)?,
        query: named("queryParams", &condition.query_params)?,
    })
}

fn named(field: &str, conditions: &[NamedMatch]) -> Result<Vec<wire::ValueMatch>, String> {
    let one = |condition: &NamedMatch| {
        let value = match condition.kind {
            StringKind::Exact => Value::Exact(condition.value.clone()),
            StringKind::RegularExpression => {
                regex_ok(field, &condition.value)?;
                Value::Regex(condition.value.clone())
            }
        };
        Ok(wire::ValueMatch { name: condition.name.clone(), value: Some(value) })
    };
    conditions.iter().map(one).collect()
}

/// Compiles a pattern as sidecars do: it must match the whole text, and its classes are ASCII.
fn regex_ok(field: &str, pattern: &str) -> Result<(), String> {
    let build = |pattern: &str| {
        regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(REGEX_BYTES)
            .dfa_size_limit(REGEX_BYTES)
            .build()
    };
    // Alone first: `a)|(b` is no pattern, but would become one between the anchors.
    let built = build(pattern).and_then(|_| build(&format!("^(?:{pattern})$")));
    // A syntax error draws the pattern over several lines; the last one says what is wrong.
    built.map(drop).map_err(|error| {
        let text = error.to_string();
        format!("{field}: `{pattern}`: {}", text.lines().last().unwrap_or("not a regular expression"))
    })
}

/// The largest compiled regular expression, as in the sidecar.
const REGEX_BYTES: usize = 64 * 1024;

/// Gateway API's own limit.
const MAX_WEIGHT: u32 = 1_000_000;
