//! The functions that templates call.

use serde_json::{Map, Value};

/// Calls a function by its name. `include` is not here: it needs the templates.
pub(super) fn call(function: &str, arguments: &[Value]) -> Result<Value, String> {
    match (function, arguments) {
        ("default", [default, value]) => Ok(if is_true(value) { value.clone() } else { default.clone() }),
        ("not", [value]) => Ok((!is_true(value)).into()),
        ("eq", [left, right]) => Ok((left == right).into()),
        ("ne", [left, right]) => Ok((left != right).into()),
        ("and", [_, ..]) => Ok(first_or_last(arguments, |value| !is_true(value))),
        ("or", [_, ..]) => Ok(first_or_last(arguments, is_true)),
        ("list", items) => Ok(items.to_vec().into()),
        ("append", [Value::Array(items), item]) => Ok(items.iter().chain([item]).cloned().collect()),
        ("dict", pairs) if pairs.len() % 2 == 0 => dict(pairs),
        ("quote", [value]) => Ok(quote(&text(value)?).into()),
        ("indent", [Value::Number(width), value]) => Ok(indent(width.as_u64(), &text(value)?).into()),
        ("nindent", [Value::Number(width), value]) => Ok(format!("\n{}", indent(width.as_u64(), &text(value)?)).into()),
        ("toYaml", [value]) => yaml(value).map(Value::String),
        _ => Err(format!("no function `{function}` that takes {} such arguments", arguments.len())),
    }
}

/// Whether `if` takes the branch.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// What is printed. Go prints lists, maps and nothing in forms of its own, which no chart of ours can want.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Err("there is no such value; use default".to_owned()),
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err(format!("{value} is not text; use toYaml")),
    }
}

fn first_or_last(values: &[Value], stops: impl Fn(&Value) -> bool) -> Value {
    values.iter().find(|value| stops(value)).or_else(|| values.last()).cloned().unwrap_or_default()
}

fn dict(pairs: &[Value]) -> Result<Value, String> {
    let mut fields = Map::new();
    for pair in pairs.chunks_exact(2) {
        fields.insert(text(&pair[0])?, pair[1].clone());
    }
    Ok(fields.into())
}

/// In double quotes, which JSON's text is.
fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

fn indent(width: Option<u64>, text: &str) -> String {
    let spaces = " ".repeat(usize::try_from(width.unwrap_or(0)).unwrap_or(0));
    text.split('\n').map(|line| format!("{spaces}{line}")).collect::<Vec<_>>().join("\n")
}

fn yaml(value: &Value) -> Result<String, String> {
    let yaml = serde_saphyr::to_string(value).map_err(|error| error.to_string())?;
    Ok(yaml.trim_end_matches('\n').to_owned())
}
