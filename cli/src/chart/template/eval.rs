//! Rendering.

use std::collections::BTreeMap;

use serde_json::Value;

use super::parse::{Block, Command, Node, Operand, Pipeline};
use super::{Fault, Templates, functions};

/// Renders a template by its name.
pub(super) fn render(templates: &Templates, name: &str, context: &Value) -> Result<String, Fault> {
    let block = templates.by_name.get(name).ok_or_else(|| Fault::new(0, format!("no template `{name}`")))?;
    let mut out = String::new();
    // `$` is what the template was called with.
    let scopes = vec![BTreeMap::from([(String::new(), context.clone())])];
    Scope { templates, scopes }.block(block, context, &mut out)?;
    Ok(out)
}

struct Scope<'a> {
    templates: &'a Templates,
    /// Variables, the innermost scope last.
    scopes: Vec<BTreeMap<String, Value>>,
}

impl Scope<'_> {
    fn block(&mut self, block: &Block, dot: &Value, out: &mut String) -> Result<(), Fault> {
        for node in block {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print { line, pipeline } => {
                    let value = self.pipeline(pipeline, dot).map_err(at(*line))?;
                    out.push_str(&functions::text(&value).map_err(at(*line))?);
                }
                Node::Set { line, name, declares, pipeline } => {
                    let value = self.pipeline(pipeline, dot).map_err(at(*line))?;
                    self.set(name, *declares, value).map_err(at(*line))?;
                }
                Node::If { branches, otherwise } => {
                    let mut taken = otherwise;
                    for (line, condition, body) in branches {
                        if functions::is_true(&self.pipeline(condition, dot).map_err(at(*line))?) {
                            taken = body;
                            break;
                        }
                    }
                    self.inner(taken, dot, out)?;
                }
                Node::Range { line, pipeline, body, otherwise } => {
                    let items = match self.pipeline(pipeline, dot).map_err(at(*line))? {
                        Value::Array(items) => items,
                        Value::Object(fields) => fields.into_iter().map(|(_, value)| value).collect(),
                        Value::Null => Vec::new(),
                        other => return Err(Fault::new(*line, format!("range over {other}"))),
                    };
                    if items.is_empty() {
                        self.inner(otherwise, dot, out)?;
                    }
                    for item in &items {
                        self.inner(body, item, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A block with variables of its own.
    fn inner(&mut self, block: &Block, dot: &Value, out: &mut String) -> Result<(), Fault> {
        self.scopes.push(BTreeMap::new());
        let done = self.block(block, dot, out);
        self.scopes.pop();
        done
    }

    fn set(&mut self, name: &str, declares: bool, value: Value) -> Result<(), String> {
        let scope = if declares {
            self.scopes.last_mut()
        } else {
            self.scopes.iter_mut().rev().find(|scope| scope.contains_key(name))
        };
        scope.ok_or_else(|| format!("${name} is not declared"))?.insert(name.to_owned(), value);
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut piped = None;
        for command in pipeline {
            piped = Some(match command {
                Command::Value(operand) if piped.is_none() => self.operand(operand, dot)?,
                Command::Value(_) => return Err("only a function can take what is piped".to_owned()),
                Command::Call { function, arguments } => {
                    let mut values =
                        arguments.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
                    values.extend(piped);
                    self.call(function, &values)?
                }
            });
        }
        piped.ok_or_else(|| "an empty action".to_owned())
    }

    fn call(&self, function: &str, arguments: &[Value]) -> Result<Value, String> {
        match (function, arguments) {
            ("include", [Value::String(name), context]) => render(self.templates, name, context)
                .map(Value::String)
                .map_err(|Fault { line, message }| format!("{name}, line {line}: {message}")),
            _ => functions::call(function, arguments),
        }
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Field(path) => field(dot, path),
            Operand::Variable(name, path) => {
                let value = self.scopes.iter().rev().find_map(|scope| scope.get(name));
                field(value.ok_or_else(|| format!("${name} is not declared"))?, path)
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Pipeline(pipeline) => self.pipeline(pipeline, dot),
        }
    }
}

/// As in Go: a missing field is nothing, and nothing has no fields.
fn field(of: &Value, path: &[String]) -> Result<Value, String> {
    let mut value = of;
    for name in path {
        value = match value {
            Value::Object(fields) => fields.get(name).unwrap_or(&Value::Null),
            other => return Err(format!("{other} has no field `{name}`")),
        };
    }
    Ok(value.clone())
}

fn at(line: usize) -> impl Fn(String) -> Fault {
    move |message| Fault::new(line, message)
}
