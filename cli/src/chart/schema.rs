//! The part of JSON Schema that values.schema.json uses. A keyword that it does not know is an error: a rule that is not checked
//! would be a promise that is not kept.

use anyhow::{Context as _, bail};
use outrigger_console::exit::Failure;
use serde_json::{Map, Value};

/// Checks values, and names the first that does not fit.
pub(super) fn check(schema: &Value, values: &Value) -> anyhow::Result<()> {
    Place { path: String::new() }.check(schema, values)
}

struct Place {
    path: String,
}

impl Place {
    fn check(&self, schema: &Value, value: &Value) -> anyhow::Result<()> {
        let rules = schema.as_object().with_context(|| format!("the schema of {} is not an object", self.path))?;
        for (keyword, rule) in rules {
            match keyword.as_str() {
                "$schema" | "description" => {}
                "type" => self.check_type(rule, value)?,
                "enum" => self.require(rule.as_array().is_some_and(|all| all.contains(value)), value, || {
                    format!("must be one of {}", list(rule))
                })?,
                "pattern" => self.check_pattern(rule, value)?,
                "minLength" => {
                    self.require(at_least(length(value), rule), value, || format!("must be {rule} or longer"))?
                }
                "maxLength" => {
                    self.require(at_most(length(value), rule), value, || format!("must be {rule} or shorter"))?
                }
                "minimum" => {
                    self.require(at_least(value.as_i64(), rule), value, || format!("must be {rule} or more"))?
                }
                "maximum" => {
                    self.require(at_most(value.as_i64(), rule), value, || format!("must be {rule} or less"))?
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.under(&index.to_string()).check(rule, item)?;
                    }
                }
                "properties" => {
                    for (name, property) in value.as_object().into_iter().flatten() {
                        if let Some(rule) = rule.get(name) {
                            self.under(name).check(rule, property)?;
                        }
                    }
                }
                "additionalProperties" => self.check_additional(rule, rules, value)?,
                unknown => bail!("the schema of {} has the keyword {unknown}, which nothing checks", self.path),
            }
        }
        Ok(())
    }

    fn check_type(&self, rule: &Value, value: &Value) -> anyhow::Result<()> {
        let is = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            _ => false,
        };
        let fits = match rule {
            Value::String(name) => is(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
            _ => false,
        };
        self.require(fits, value, || format!("must be of type {}", list(rule)))
    }

    fn check_pattern(&self, rule: &Value, value: &Value) -> anyhow::Result<()> {
        let (Some(pattern), Some(text)) = (rule.as_str(), value.as_str()) else { return Ok(()) };
        self.require(regex::Regex::new(pattern)?.is_match(text), value, || format!("must match {pattern}"))
    }

    /// Properties that the schema does not name.
    fn check_additional(&self, rule: &Value, rules: &Map<String, Value>, value: &Value) -> anyhow::Result<()> {
        let known = rules.get("properties").and_then(Value::as_object);
        for (name, property) in value.as_object().into_iter().flatten() {
            if known.is_some_and(|known| known.contains_key(name)) {
                continue;
            }
            let place = self.under(name);
            if rule == &Value::Bool(false) {
                let likely = known.into_iter().flatten().map(|(known, _)| known);
                let likely = likely.max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
                let hint =
                    likely.map_or_else(String::new, |likely| format!("did you mean `{}`?", self.under(likely).path));
                return Err(Failure::new(format!("there is no value `{}`", place.path), hint).into());
            }
            if rule.is_object() {
                place.check(rule, property)?;
            }
        }
        Ok(())
    }

    fn require(&self, fits: bool, value: &Value, message: impl FnOnce() -> String) -> anyhow::Result<()> {
        if fits {
            return Ok(());
        }
        let hint = "deploy/charts/outrigger/README.md has all values";
        Err(Failure::new(format!("value `{}` {}, not {value}", self.path, message()), hint).into())
    }

    fn under(&self, name: &str) -> Self {
        Self { path: if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) } }
    }
}

/// What cannot be measured is of another type, which another rule says.
fn at_least(measured: Option<i64>, bound: &Value) -> bool {
    measured.zip(bound.as_i64()).is_none_or(|(measured, bound)| measured >= bound)
}

fn at_most(measured: Option<i64>, bound: &Value) -> bool {
    measured.zip(bound.as_i64()).is_none_or(|(measured, bound)| measured <= bound)
}

fn length(value: &Value) -> Option<i64> {
    i64::try_from(value.as_str()?.chars().count()).ok()
}

fn list(rule: &Value) -> String {
    match rule {
        Value::Array(all) => all.iter().map(|value| value.as_str().unwrap_or_default()).collect::<Vec<_>>().join(", "),
        value => value.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": false, "properties": {
            "replicas": {"type": "integer", "minimum": 0, "maximum": 50},
            "mode": {"type": "string", "enum": ["strict", "permissive"]},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "names": {"type": "array", "items": {"type": "string"}},
        }})
    }

    #[test]
    fn accepts_what_fits() {
        let values = json!({"replicas": 3, "mode": "strict", "name": "abc", "labels": {"a": "b"}, "names": ["x"]});
        check(&schema(), &values).unwrap();
    }

    #[test]
    fn names_what_does_not_fit() {
        for (values, expected) in [
            (json!({"replica": 3}), "there is no value `replica`"),
            (json!({"replicas": "3"}), "value `replicas` must be of type integer, not \"3\""),
            (json!({"replicas": 51}), "value `replicas` must be 50 or less, not 51"),
            (json!({"mode": "lax"}), "value `mode` must be one of strict, permissive, not \"lax\""),
            (json!({"name": "A"}), "value `name` must match ^[a-z]+$, not \"A\""),
            (json!({"name": "abcd"}), "value `name` must be 3 or shorter, not \"abcd\""),
            (json!({"labels": {"a": 1}}), "value `labels.a` must be of type string, not 1"),
            (json!({"names": ["x", 1]}), "value `names.1` must be of type string, not 1"),
        ] {
            assert_eq!(check(&schema(), &values).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_rule_that_nothing_checks_is_an_error() {
        assert!(check(&json!({"oneOf": []}), &json!({})).is_err());
    }
}
