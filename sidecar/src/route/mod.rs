//! Routing: a request's path, method, headers and query → a rule → a weighted backend (step 7 of the request path).
//!
//! A [`RouteTable`] is compiled when a service's routes change and then only read: [`RouteTable::find`] gives the rule,
//! [`weight::Backends::pick`] the backend, [`filter::Filters`] change the request. Paths pass [`normalize`] first. There is no I/O
//! here; what a backend is resolved to is the caller's.

mod filter;
mod matcher;
mod path;
mod redirect;
mod table;
#[cfg(test)]
mod table_tests;
mod weight;

use std::fmt;

use outrigger_proto::model;

pub(crate) use path::normalize;
pub(crate) use redirect::RequestOrigin;
pub(crate) use table::{Matched, RequestView, RouteTable, Rule};
pub(crate) use weight::Destination;

/// Routes that cannot be used; the reason travels to the control plane in a nack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{route}: {field}: {problem}")]
pub(crate) struct CompileError {
    /// The route and its rule, such as `HTTPRoute shop/web rule 1`.
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
        let model::RouteId { kind, namespace, name } = &*rule.route;
        Self { route: format!("{} {namespace}/{name} rule {}", kind.as_str(), rule.index), ..self }
    }
}
