//! The page of TrafficPolicy: every field, as the custom resource itself describes it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use outrigger_cli::chart::{CRDS, Release};
use serde_json::Value;

/// What there is to say, and a table of the fields for each block.
pub(crate) fn page() -> Result<String> {
    let release = Release { name: String::new(), namespace: String::new(), service: String::new() };
    let objects = CRDS.render(&release, &[])?;
    let resource = objects.iter().find(|object| object["spec"]["names"]["kind"] == "TrafficPolicy");
    let resource = resource.context("the chart has no TrafficPolicy")?;
    let schema = &resource["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = &schema["properties"]["spec"];
    let mut page = format!("{}\n# TrafficPolicy\n\n{}\n\n{INTRODUCTION}\n", crate::GENERATED, text(schema)?);
    for block in BLOCKS {
        let schema = &spec["properties"][block];
        let _ = write!(page, "\n## {block}\n\n{}\n\n{HEAD}", text(schema)?);
        let fields = if schema["type"] == "array" { &schema["items"] } else { schema };
        rows(&mut page, fields, "")?;
        rules(&mut page, schema);
    }
    if spec["properties"].as_object().map_or(0, serde_json::Map::len) != BLOCKS.len() {
        bail!("the schema of TrafficPolicy has other blocks than {BLOCKS:?}");
    }
    page.push_str(STATUS);
    Ok(page)
}

/// A row for each field, and those of its own fields after it.
fn rows(page: &mut String, of: &Value, path: &str) -> Result<()> {
    let required: Vec<&str> = of["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in of["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let _ = writeln!(page, "| `{path}` | {} | {default} | {} |", values(field), text(field)?);
        let (inner, path) = match field["type"].as_str() {
            Some("array") => (&field["items"], format!("{path}[].")),
            _ => (field, format!("{path}.")),
        };
        rows(page, inner, &path)?;
    }
    Ok(())
}

/// What a field takes.
fn values(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let quoted =
            |word: &Value| format!("`{}`", if word == "" { "\"\"" } else { word.as_str().unwrap_or_default() });
        return words.iter().map(quoted).collect::<Vec<_>>().join(", ");
    }
    let rules = field["x-kubernetes-validations"].as_array();
    match (field["type"].as_str().unwrap_or_default(), rules) {
        ("string", Some(rules)) => {
            let said = rules.iter().filter_map(|rule| rule["message"].as_str()).collect::<Vec<_>>().join("; ");
            format!("duration, {}", said.trim_start_matches("must be "))
        }
        ("integer", _) => match (&field["minimum"], &field["maximum"]) {
            (Value::Null, Value::Null) => "number".to_owned(),
            (least, Value::Null) => format!("number, from {least}"),
            (least, most) => format!("number, {least} to {most}"),
        },
        ("array", _) => format!("list, at most {}", field["maxItems"]),
        (other, _) => other.to_owned(),
    }
}

fn rules(page: &mut String, schema: &Value) {
    let messages = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    for message in messages.filter_map(|rule| rule["message"].as_str()) {
        let _ = writeln!(page, "\nRefused otherwise: {message}.");
    }
}

fn text(of: &Value) -> Result<&str> {
    of["description"].as_str().with_context(|| format!("a field without a description: {of}"))
}

const BLOCKS: [&str; 6] = ["targetRefs", "loadBalancer", "ejection", "limits", "retryBudget", "faultInjection"];

const HEAD: &str = "| Field | Value | Default | |\n|---|---|---|---|\n";

const INTRODUCTION: &str = "\
`apiVersion: outrigger.io/v1alpha1`, `kind: TrafficPolicy`; `kubectl get otp` lists them, and `kubectl explain trafficpolicy.spec` says what is below. \
[Traffic policies](../tasks/traffic-policy.md) shows them at work. Durations are written as the Gateway API does: `500ms`, `10s`, `1m30s`.

**Which Service's policy.** `loadBalancer`, `ejection`, `limits` and `retryBudget` are those of the Service whose endpoint is picked: where a route sends \
requests to another Service, that one's. `faultInjection` is that of the Service that is dialled, whatever backend its routes choose. A workload that is \
dialled by its own address has none. Connections that are not HTTP keep to `loadBalancer`, `ejection` and `limits.maxConnections`; over the limit they are \
closed.

**A version that cannot be used** leaves the last good one in force, and the status names the field. A control plane that has never seen a good version \
has none.";

const STATUS: &str = "
## Status

`status.ancestors` has an entry with `controllerName: outrigger.io/mesh` for each Service that the policy names, and in it the condition `Accepted`:

| Reason | |
|---|---|
| `Accepted` | It is in force for that Service. |
| `Conflicted` | An older policy names the same Service and port, and counts. |
| `Invalid` | A field cannot be used: the message names it. |
| `TargetNotFound` | There is no such Service, or no such port. |

The status is that of a cluster. For a directory of YAML files, the same is in the control plane's `/config`.

## XBackendTrafficPolicy

Where the cluster serves the Gateway API's experimental `XBackendTrafficPolicy` (`gateway.networking.x-k8s.io/v1alpha1`), its `retryConstraint` counts as \
a `retryBudget`, with the same status. A TrafficPolicy for the same Service that has a `retryBudget` comes before it (`Conflicted`). When the kind is \
installed later, it is found within ten seconds. `sessionPersistence` is not supported there, and the status says so.
";
