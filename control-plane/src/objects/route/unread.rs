//! Routes that a newer version of the API allows, and this one cannot read whole: the rule or the field that is not understood
//! is named, and the rest is kept. Only for what an API server has taken; a file is refused, with line and column.

use serde_json::{Map, Value};

/// A part of a route that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Unread {
    /// A field outside of the rules.
    Field(String),
    /// A rule.
    Rule {
        /// Its place.
        index: usize,
        /// Which field, and why.
        reason: String,
        /// Whether it is not even clear which requests it is for.
        dropped: bool,
    },
}

/// Takes out of a route what `read` refuses, and says what that was.
pub(in crate::objects) fn take_out<T, E: ToString>(
    route: &mut Value,
    read: impl Fn(Value) -> Result<T, E>,
) -> Vec<Unread> {
    let mut unread = Vec::new();
    let mut alone = route.clone();
    let Some(spec) = route.get_mut("spec").and_then(Value::as_object_mut) else { return unread };
    spec.retain(|field, _| {
        let known = SPEC.contains(&field.as_str());
        if !known {
            unread.push(Unread::Field(format!("spec.{field} is not known to this version: it has no effect")));
        }
        known
    });
    let mut refusal = |rule: &Value| {
        alone["spec"] = serde_json::json!({ "rules": [rule] });
        read(alone.clone()).err().map(|error| error.to_string())
    };
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    for (index, rule) in rules.enumerate() {
        let Some(error) = refusal(rule) else { continue };
        let field = error.split('`').nth(1).and_then(|named| path(rule, named)).unwrap_or_default();
        let reason = format!("spec.rules[{index}]{field}: {error}");
        let stub: Map<String, Value> = rule.as_object().cloned().unwrap_or_default();
        let stub = Value::Object(stub.into_iter().filter(|(field, _)| MATCHING.contains(&field.as_str())).collect());
        let dropped = refusal(&stub).is_some();
        *rule = if dropped { Value::Object(Map::new()) } else { stub };
        unread.push(Unread::Rule { index, reason, dropped });
    }
    unread
}

/// Finds where a field or a value of this name is.
fn path(value: &Value, named: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(field, value)| {
            let found = if field == named { Some(String::new()) } else { path(value, named) };
            found.map(|rest| format!(".{field}{rest}"))
        }),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| path(item, named).map(|rest| format!("[{index}]{rest}")))
        }
        Value::String(text) if text == named => Some(String::new()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What a route's spec is made of.
const SPEC: [&str; 4] = ["parentRefs", "useDefaultGateways", "hostnames", "rules"];

/// What says for which requests a rule is.
const MATCHING: [&str; 2] = ["name", "matches"];
