//! Turns a route's rules into wire rules, as far as that depends on the route alone; backends are resolved later.
//!
//! A rule that cannot be kept as written is refused. When it is clear which requests it was for, they get an error that
//! says why (Gateway API: a filter must not be skipped); when not, the rule is dropped. Either way a problem is noted.

use std::sync::Arc;

use outrigger_proto::model::{self, RouteKind, RouteSet};
use outrigger_proto::wire;
use outrigger_proto::wire::r#match::Path;
use outrigger_proto::wire::value_match::Value;
use outrigger_routing::{CompileError, RouteTable};

use super::{filter, session};
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
        // Only what says for whom it is.
        let bare = wire::Rule {
            route: Some(reference),
            index,
            name: rule.name.clone(),
            matches: matches(&rule.matches),
            ..wire::Rule::default()
        };
        match full(&bare, route, rule) {
            Ok((wire, backends)) => Ok(Self { wire, backends: Ok(backends), mirrors: filter::mirrors(&rule.filters) }),
            Err(reason) => {
                compile(bare.clone())?;
                Ok(Self { wire: bare, backends: Err(reason), mirrors: Vec::new() })
            }
        }
    }
}

impl PreparedBackend {
    /// Returns its wire form before it is looked up.
    fn nowhere(&self) -> wire::Backend {
        let to = wire::backend::Backend::Invalid("not looked up".to_owned());
        wire::Backend { backend: Some(to), weight: self.reference.weight, filters: self.filters.clone() }
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
    let mut backends = Vec::with_capacity(rule.backends.len());
    for reference in &rule.backends {
        if reference.weight > MAX_WEIGHT {
            return Err(format!("backend {}: a weight is at most {MAX_WEIGHT}", reference.name));
        }
        let filters = filter::of_backend(kind, reference)?;
        let mirrors = filter::mirrors(&reference.filters);
        backends.push(PreparedBackend { reference: reference.clone(), filters, mirrors });
    }
    compile(wire::Rule { backends: backends.iter().map(PreparedBackend::nowhere).collect(), ..wire.clone() })?;
    Ok((wire, backends))
}

/// Compiles a rule as sidecars do, with the same code: what is sent is what they can use, and what they would refuse is told on the object.
fn compile(rule: wire::Rule) -> Result<(), String> {
    let rule = model::Rule::try_from(rule).map_err(|invalid| invalid.to_string())?;
    let routes = RouteSet { kind: rule.route.kind, rules: vec![rule] };
    let compiled = RouteTable::compile(&routes, |_| ());
    compiled.map(drop).map_err(|CompileError { field, problem, .. }| format!("{field}: {problem}"))
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

fn matches(matches: &Matches) -> Vec<wire::Match> {
    match matches {
        Matches::Http(matches) => matches.iter().map(http_match).collect(),
        Matches::Grpc(matches) => matches
            .iter()
            .map(|condition| {
                let path = condition.method.as_ref().map(|method| {
                    let regex = method.kind == StringKind::RegularExpression;
                    let (service, method) = (method.service.clone(), method.method.clone());
                    Path::Grpc(wire::GrpcMethod { regex, service, method })
                });
                wire::Match { path, headers: named(&condition.headers), ..wire::Match::default() }
            })
            .collect(),
        Matches::All => Vec::new(),
    }
}

fn http_match(condition: &HttpMatch) -> wire::Match {
    let value = condition.path.value.clone();
    wire::Match {
        path: Some(match condition.path.kind {
            PathKind::Exact => Path::PathExact(value),
            PathKind::PathPrefix => Path::PathPrefix(value),
            PathKind::RegularExpression => Path::PathRegex(value),
        }),
        method: condition.method.clone().unwrap_or_default(),
        headers: named(&condition.headers),
        query: named(&condition.query_params),
    }
}

fn named(conditions: &[NamedMatch]) -> Vec<wire::ValueMatch> {
    let one = |condition: &NamedMatch| {
        let value = match condition.kind {
            StringKind::Exact => Value::Exact(condition.value.clone()),
            StringKind::RegularExpression => Value::Regex(condition.value.clone()),
        };
        wire::ValueMatch { name: condition.name.clone(), value: Some(value) }
    };
    conditions.iter().map(one).collect()
}

/// Gateway API's own limit.
const MAX_WEIGHT: u32 = 1_000_000;
