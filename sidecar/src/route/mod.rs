//! Routing: a request's path, method, headers and query → a rule → a weighted backend (step 7 of the request path).
//!
//! A [`RouteTable`] is compiled when a service's routes change and then only read: [`RouteTable::find`] gives the rule,
//! [`weight::Backends::pick`] the backend, [`filter::Filters`] change the request. Paths pass [`normalize`] first. There is no I/O
//! here; what a backend is resolved to is the caller's.

mod bucket;
mod cors;
mod filter;
mod matcher;
mod mirror;
mod path;
mod redirect;
mod session;
mod table;
#[cfg(test)]
mod table_tests;
mod weight;

use std::fmt;

use outrigger_proto::model;

pub(crate) use mirror::Mirror;
pub(crate) use path::{Reject, normalize, readings, unresolved};
pub(crate) use redirect::RequestOrigin;
pub(crate) use session::Presented;
pub(crate) use table::{Matched, RequestView, RouteTable, Rule};
pub(crate) use weight::Destination;

/// Routes that cannot be used; the reason travels to the control plane in a nack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{route}: {field}: {problem}")]
pub(crate) struct CompileError {
    /// The route and its rule, such as `HTTPRoute/shop/web/1`.
    pub(crate) route: String,
    /// Path of the field within the rule, such as `matches[0].headers[1].regex`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) problem: String,
}

impl CompileError {
    fn at(field: &str, problem: impl fmt::Display) -> Self {
        Self { route: String::new(), field: field.to_owned(), problem: problem.to_string() }
    }

    fn within(self, outer: impl fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }

    fn of(self, rule: &model::Rule) -> Self {
        let rule = RuleName { route: &rule.route, index: rule.index, name: &rule.name };
        Self { route: rule.to_string(), ..self }
    }
}

/// How a rule is called in messages, spans, the access log and metrics: by its name, or its place in the route when it
/// has none, such as `HTTPRoute/shop/web/canary` or `HTTPRoute/shop/web/1`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleName<'a> {
    pub(crate) route: &'a model::RouteId,
    pub(crate) index: u32,
    pub(crate) name: &'a str,
}

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model::RouteId { kind, namespace, name } = self.route;
        write!(f, "{}/{namespace}/{name}/", kind.as_str())?;
        if self.name.is_empty() { self.index.fmt(f) } else { f.write_str(self.name) }
    }
}
