//! `--values` and `--set`, as Helm reads them.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

/// Puts a change into values: objects are merged, all else is replaced, and `null` removes.
pub fn merge(values: &mut Value, change: &Value) {
    match (values, change) {
        (Value::Object(values), Value::Object(change)) => {
            for (name, change) in change {
                if change.is_null() {
                    values.remove(name);
                } else if let Some(value) = values.get_mut(name) {
                    merge(value, change);
                } else {
                    values.insert(name.clone(), change.clone());
                }
            }
        }
        (value, change) => *value = change.clone(),
    }
}

/// Reads one `--set`: `a.b=value,c={x,y}`. A backslash takes the meaning from `.`, `,` and `=`.
///
/// # Errors
/// When it is not of that form.
pub fn parse_set(text: &str) -> anyhow::Result<Value> {
    let mut values = Value::Object(Map::new());
    for assignment in split(text, ',') {
        let parts = split(&assignment, '=');
        let (Some(path), true) = (parts.first(), parts.len() > 1) else {
            bail!("--set {text}: `{assignment}` has no `=`; write path.to.value=VALUE");
        };
        let value = scalar_or_list(&assignment[path.len() + 1..]);
        merge(&mut values, &nested(path, value).with_context(|| format!("--set {text}"))?);
    }
    Ok(values)
}

fn nested(path: &str, value: Value) -> anyhow::Result<Value> {
    let mut nested = value;
    for name in split(path, '.').iter().rev() {
        let name = unescape(name);
        if name.is_empty() || name.ends_with(']') {
            bail!("`{path}` is not a path of names; give lists whole, as path={{a,b}}, or use --values");
        }
        nested = Value::Object(Map::from_iter([(name, nested)]));
    }
    Ok(nested)
}

fn scalar_or_list(text: &str) -> Value {
    match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("") => Value::Array(Vec::new()),
        Some(items) => Value::Array(split(items, ',').iter().map(|item| scalar(item)).collect()),
        None => scalar(text),
    }
}

/// Whole numbers, true, false and null are what they look like; the rest is text.
fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        // Zeros in front make it text: a file mode, a version.
        number if number == "0" || !number.starts_with('0') => {
            number.parse::<i64>().map_or_else(|_| Value::String(unescape(text)), Value::from)
        }
        text => Value::String(unescape(text)),
    }
}

/// Splits where the separator is not escaped, and not in braces.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut depth) = (false, 0_u32);
    for character in text.chars() {
        if character == separator && !escaped && depth == 0 {
            parts.push(String::new());
            continue;
        }
        match character {
            '{' if !escaped => depth += 1,
            '}' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for character in text.chars() {
        if character == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn set_reads_what_helm_reads() {
        for (text, expected) in [
            ("ha=true", json!({"ha": true})),
            ("a.b=3,a.c=x", json!({"a": {"b": 3, "c": "x"}})),
            ("a={x,y},b={}", json!({"a": ["x", "y"], "b": []})),
            ("a=", json!({"a": ""})),
            ("a=x=y", json!({"a": "x=y"})),
            ("a=007", json!({"a": "007"})),
            (r"labels.app\.kubernetes\.io/name=x\,y", json!({"labels": {"app.kubernetes.io/name": "x,y"}})),
        ] {
            assert_eq!(parse_set(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn set_refuses_what_it_cannot_place() {
        for text in ["ha", "a[0]=x", ".a=x"] {
            assert!(parse_set(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_change_replaces_leaves_and_null_removes() {
        let mut values = json!({"a": {"b": 1, "c": 2}, "list": [1, 2]});
        merge(&mut values, &json!({"a": {"b": 5, "c": null}, "list": [3]}));
        assert_eq!(values, json!({"a": {"b": 5}, "list": [3]}));
    }
}
