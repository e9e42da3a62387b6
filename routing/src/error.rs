//! Why routes cannot be used, and how their rules are called.

use std::fmt;

use outrigger_proto::model;

/// Routes that cannot be used: the first field of the first rule that does not compile. A sidecar refuses the resource with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{route}: {field}: {problem}")]
pub struct CompileError {
    /// The route and its rule, such as `HTTPRoute/shop/web/1`.
    pub route: String,
    /// Path of the field within the rule, in the words of the Gateway API, such as `matches[0].headers[1].value`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl CompileError {
    pub(crate) fn at(field: &str, problem: impl fmt::Display) -> Self {
        Self { route: String::new(), field: field.to_owned(), problem: problem.to_string() }
    }

    pub(crate) fn within(self, outer: impl fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }

    pub(crate) fn of(self, rule: &model::Rule) -> Self {
        let rule = RuleName { route: &rule.route, index: rule.index, name: &rule.name };
        Self { route: rule.to_string(), ..self }
    }
}

/// How a rule is called in messages, spans, the access log and metrics: by its name (GEP-995), or its place in the route when it
/// has none, such as `HTTPRoute/shop/web/canary` or `HTTPRoute/shop/web/1`.
#[derive(Debug, Clone, Copy)]
pub struct RuleName<'a> {
    /// The route.
    pub route: &'a model::RouteId,
    /// Place in the route, from 0.
    pub index: u32,
    /// The rule's name, empty when it has none.
    pub name: &'a str,
}

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model::RouteId { kind, namespace, name } = self.route;
        write!(f, "{}/{namespace}/{name}/", kind.as_str())?;
        if self.name.is_empty() { self.index.fmt(f) } else { f.write_str(self.name) }
    }
}
