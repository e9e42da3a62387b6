//! The index over all matches of a route set.
//!
//! Precedence is the Gateway API's. HTTP: exact path, then the longest prefix, then regular expressions (which the API
//! leaves open: they come before the prefix `/`, which would hide them), then `/` and no path at all; then a match on
//! the method, more headers, more query parameters, and the order given. gRPC: longest service, longest method, more
//! headers, the order given; here too a regular expression stands between a name and no condition.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use outrigger_proto::ServicePort;
use outrigger_proto::model::{self, PathMatch, Retry, RouteId, RouteSet, StringMatch};

use crate::bucket::Bucket;
use crate::candidate::{Candidate, PathCheck};
use crate::filter::Filters;
use crate::matcher::{HeaderMatcher, QueryMatcher, TextMatcher, compile_regex};
use crate::mirror::Mirror;
use crate::session::Session;
use crate::weight::Backends;
use crate::{CompileError, Matched, RequestView, RuleName, path};

/// The compiled rules of one parent; `B` is what a backend is resolved to.
#[derive(Debug)]
pub struct RouteTable<B> {
    rules: Box<[Arc<Rule<B>>]>,
    index: MatchIndex,
}

impl<B> RouteTable<B> {
    /// Compiles routes; `backend` resolves each backend of each rule once. Rules do not depend on one another: routes compile if each
    /// of their rules does.
    ///
    /// # Errors
    /// Names the first field that cannot be used.
    pub fn compile(routes: &RouteSet, mut backend: impl FnMut(&ServicePort) -> B) -> Result<Self, CompileError> {
        let mut rules = Vec::with_capacity(routes.rules.len());
        let mut places = Places::default();
        for (index, rule) in routes.rules.iter().enumerate() {
            let index = u32::try_from(index).map_err(|_| CompileError::at("rules", "too many").of(rule))?;
            rules.push(Arc::new(Rule::compile(rule, &mut backend).map_err(|e| e.of(rule))?));
            places.add(index, rule).map_err(|e| e.of(rule))?;
        }
        Ok(Self { rules: rules.into(), index: MatchIndex::new(places) })
    }

    /// Finds the rule of the request's best match; `None`: no rule matches, which is `ErrorCode::DestinationNotFound`.
    ///
    /// `request.path` has passed [`crate::normalize`].
    #[must_use]
    pub fn find(&self, request: &RequestView<'_>) -> Option<Found<'_, B>> {
        let candidate = self.index.find(request)?;
        let rule = self.rules.get(candidate.rule as usize)?;
        Some(Found { rule, matched: Matched { place: candidate.place, prefix: candidate.prefix } })
    }

    /// Returns all rules in the order given; TCPRoutes and TLSRoutes, which have no matches, take the first.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule<B>>] {
        &self.rules
    }
}

/// All matches, by their conditions on the path. It does not depend on the backend: a lookup is compiled here, as one piece.
#[derive(Debug)]
struct MatchIndex {
    exact: Index,
    // Without the trailing `/`.
    prefix: Index,
    // Regular expressions and matches of any path, in order of precedence.
    rest: Bucket,
    // No key of `prefix` holds more slashes: bounds the probes that a path of nothing but slashes can cause.
    deepest: usize,
}

impl MatchIndex {
    fn new(Places { exact, prefix, rest }: Places) -> Self {
        let deepest = prefix.keys().map(|key| slashes(key)).max().unwrap_or(0);
        Self { exact: index(exact), prefix: index(prefix), rest: sorted(rest), deepest }
    }

    fn find(&self, request: &RequestView<'_>) -> Option<&Candidate> {
        if let Some(bucket) = self.exact.get(request.path)
            && let Some(found) = bucket.find(request)
        {
            return Some(found);
        }
        if self.deepest > 0 {
            let mut prefix = cut_after(request.path, self.deepest);
            loop {
                if let Some(bucket) = self.prefix.get(prefix)
                    && let Some(found) = bucket.find(request)
                {
                    return Some(found);
                }
                let Some(slash) = prefix.rfind('/') else { break };
                prefix = &prefix[..slash];
            }
        }
        self.rest.find(request)
    }
}

/// What [`RouteTable::find`] found.
#[derive(Debug)]
pub struct Found<'t, B> {
    /// The rule.
    pub rule: &'t Arc<Rule<B>>,
    /// Which of its matches.
    pub matched: Matched,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule<B> {
    /// The route.
    pub route: Arc<RouteId>,
    /// Place in the route, from 0.
    pub index: u32,
    /// The rule's name, empty when it has none.
    pub name: Arc<str>,
    /// Applied before the picked backend's.
    pub filters: Filters,
    /// Where copies of its requests go.
    pub mirrors: Box<[Mirror<B>]>,
    /// Where its requests go.
    pub backends: Backends<B>,
    /// For the whole request, all attempts together; `None`: no limit.
    pub request_timeout: Option<Duration>,
    /// For one attempt; `None`: no limit.
    pub attempt_timeout: Option<Duration>,
    /// What may be repeated.
    pub retry: Option<Retry>,
    /// Which requests go to one endpoint.
    pub session: Option<Session>,
    /// It makes another path of a request's.
    pub changes_path: bool,
    patterns: Box<[Box<str>]>,
}

impl<B> Rule<B> {
    fn compile(rule: &model::Rule, mut backend: impl FnMut(&ServicePort) -> B) -> Result<Self, CompileError> {
        let replaces_prefix = |filters: &[model::Filter]| filters.iter().any(Filters::replaces_prefix);
        let has_prefix = |m: &model::Match| matches!(m.path, None | Some(PathMatch::Prefix(_)));
        let replaces = replaces_prefix(&rule.filters) || rule.backends.iter().any(|b| replaces_prefix(&b.filters));
        if replaces && !rule.matches.iter().all(has_prefix) {
            return Err(CompileError::at("filters", "replacePrefixMatch needs matches of type PathPrefix"));
        }
        let (filters, backends) = (Filters::compile(&rule.filters)?, Backends::compile(&rule.backends, &mut backend)?);
        Ok(Self {
            route: Arc::clone(&rule.route),
            index: rule.index,
            name: Arc::clone(&rule.name),
            changes_path: filters.change_path() || backends.change_path(),
            filters,
            mirrors: Mirror::compile(&rule.filters, &mut backend),
            backends,
            request_timeout: rule.request_timeout,
            attempt_timeout: rule.attempt_timeout,
            retry: rule.retry.clone(),
            session: rule.session.as_ref().map(Session::new),
            patterns: rule.matches.iter().map(pattern).collect(),
        })
    }

    /// Returns the path as the route wrote it, for span names; empty when the match has none or is of gRPC.
    #[must_use]
    pub fn pattern(&self, matched: Matched) -> &str {
        self.patterns.get(usize::from(matched.place)).map_or("", |pattern| pattern)
    }
}

impl<B> fmt::Display for Rule<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RuleName { route: &self.route, index: self.index, name: &self.name }.fmt(f)
    }
}

fn pattern(of: &model::Match) -> Box<str> {
    match &of.path {
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path) | PathMatch::Regex(path)) => path.clone(),
        Some(PathMatch::Grpc { .. }) | None => "".into(),
    }
}

type Index = HashMap<Box<str>, Bucket, RandomState>;

/// Candidates by the place in the index where they belong.
#[derive(Default)]
struct Places {
    exact: HashMap<Box<str>, Vec<Candidate>, RandomState>,
    prefix: HashMap<Box<str>, Vec<Candidate>, RandomState>,
    rest: Vec<Candidate>,
}

impl Places {
    fn add(&mut self, rule: u32, model: &model::Rule) -> Result<(), CompileError> {
        let any = [model::Match::default()];
        let matches = if model.matches.is_empty() { &any } else { &*model.matches };
        for (place, one) in matches.iter().enumerate() {
            self.add_match(rule, place, one).map_err(|e| e.within(format_args!("matches[{place}]")))?;
        }
        Ok(())
    }

    fn add_match(&mut self, rule: u32, place: usize, of: &model::Match) -> Result<(), CompileError> {
        let mut candidate = Candidate {
            rule,
            place: u16::try_from(place).map_err(|_| CompileError::at("path", "too many matches in one rule"))?,
            prefix: 0,
            rank: 0,
            path: PathCheck::Done,
            method: of.method.clone(),
            headers: HeaderMatcher::compile_all(of)?,
            query: QueryMatcher::compile_all(of)?,
        };
        let list = match &of.path {
            None => &mut self.rest,
            Some(PathMatch::Exact(path)) => self.exact.entry(rule_path(path)?.into()).or_default(),
            Some(PathMatch::Prefix(path)) => {
                let path = rule_path(path)?;
                let key = path.strip_suffix('/').unwrap_or(path);
                candidate.prefix =
                    u16::try_from(key.len()).map_err(|_| CompileError::at("path.value", "is too long"))?;
                if key.is_empty() { &mut self.rest } else { self.prefix.entry(key.into()).or_default() }
            }
            Some(PathMatch::Regex(pattern)) => {
                candidate.rank = 1;
                candidate.path = PathCheck::Regex(compile_regex(pattern).map_err(|e| e.within("path"))?);
                &mut self.rest
            }
            Some(PathMatch::Grpc { service, method }) => self.grpc(&mut candidate, service, method)?,
        };
        list.push(candidate);
        Ok(())
    }

    fn grpc(
        &mut self,
        candidate: &mut Candidate,
        service: &Option<StringMatch>,
        method: &Option<StringMatch>,
    ) -> Result<&mut Vec<Candidate>, CompileError> {
        let rank = |text: &Option<StringMatch>| match text {
            Some(StringMatch::Exact(_)) => 2,
            Some(StringMatch::Regex(_)) => 1,
            None => 0,
        };
        candidate.rank = 3 * rank(service) + rank(method);
        if let (Some(StringMatch::Exact(service)), Some(StringMatch::Exact(method))) = (service, method) {
            return Ok(self.exact.entry(format!("/{service}/{method}").into()).or_default());
        }
        if service.is_none() && method.is_none() {
            return Ok(&mut self.rest);
        }
        let compile = |field: &str, text: &Option<StringMatch>| {
            let named = |e: CompileError| CompileError::at(field, e.problem).within("method");
            text.as_ref().map(TextMatcher::compile).transpose().map_err(named)
        };
        candidate.path = PathCheck::Grpc { service: compile("service", service)?, method: compile("method", method)? };
        match service {
            Some(StringMatch::Exact(service)) => Ok(self.prefix.entry(format!("/{service}").into()).or_default()),
            Some(StringMatch::Regex(_)) | None => Ok(&mut self.rest),
        }
    }
}

fn rule_path(text: &str) -> Result<&str, CompileError> {
    path::check(text).map_err(|problem| CompileError::at("path.value", problem))?;
    Ok(text)
}

fn index(places: HashMap<Box<str>, Vec<Candidate>, RandomState>) -> Index {
    places.into_iter().map(|(key, list)| (key, sorted(list))).collect()
}

fn sorted(mut list: Vec<Candidate>) -> Bucket {
    // Stable, so that what ties keeps the order given.
    list.sort_by_key(|c| std::cmp::Reverse((c.rank, c.method.is_some(), c.headers.len(), c.query.len())));
    Bucket::new(list)
}

fn slashes(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

/// Returns the start of `path` that holds `count` slashes, up to the next one.
fn cut_after(path: &str, count: usize) -> &str {
    path.match_indices('/').nth(count).map_or(path, |(at, _)| &path[..at])
}
