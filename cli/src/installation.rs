//! The objects of an install: the charts with the values that were asked for, and what belongs around them.

use std::path::PathBuf;

use anyhow::Context as _;
use outrigger_console::exit::Failure;
use serde_json::{Map, Value, json};

use crate::chart::{CRDS, MESH, Release, values};

/// All objects of a mesh, in the order to apply them: the namespace, the custom resources, and the mesh.
pub(crate) fn objects(namespace: &str, changes: &Value) -> anyhow::Result<Vec<Value>> {
    let revision = changes["revision"].as_str().unwrap_or_default();
    let instance = instance(revision);
    let release = |name: &str| Release { name: name.into(), namespace: namespace.into(), service: MANAGER.into() };
    let mut objects = vec![self::namespace(namespace, &instance)];
    objects.extend(CRDS.render(&release(CRDS.name), &[])?);
    objects.extend(MESH.render(&release(&instance), std::slice::from_ref(changes))?);
    objects.push(record(namespace, &instance, changes));
    Ok(objects)
}

/// What tells the objects of one revision from those of another.
pub(crate) fn instance(revision: &str) -> String {
    if revision.is_empty() { "outrigger".to_owned() } else { format!("outrigger-{revision}") }
}

fn namespace(name: &str, instance: &str) -> Value {
    let mut labels = labels(instance);
    // What the charts make fits the strictest standard, so nothing less needs to be let in.
    labels["pod-security.kubernetes.io/enforce"] = "restricted".into();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// What was asked for, so that an upgrade does not forget it.
fn record(namespace: &str, instance: &str, changes: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": RECORD, "namespace": namespace, "labels": labels(instance)},
        "data": {"values.json": changes.to_string()},
    })
}

fn labels(instance: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "outrigger",
        "app.kubernetes.io/instance": instance,
        "app.kubernetes.io/version": outrigger_daemon::VERSION,
        "app.kubernetes.io/component": "install",
        "app.kubernetes.io/part-of": "outrigger",
        "app.kubernetes.io/managed-by": MANAGER,
    })
}

/// What a user sets: values, and files of values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    /// `a.b=c`, several with commas; they win over all files.
    pub(crate) set: Vec<String>,
    /// YAML; later ones win.
    pub(crate) files: Vec<PathBuf>,
}

impl Values {
    /// What differs from the chart's own values.
    pub(crate) fn changes(&self) -> anyhow::Result<Value> {
        let mut changes = Value::Object(Map::new());
        for path in &self.files {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let file: Option<Value> = serde_saphyr::from_str(&text)
                .map_err(|error| Failure::new(format!("{}: {error}", path.display()), "mend the file"))?;
            merge_all(&mut changes, &file.unwrap_or_default());
        }
        for set in &self.set {
            merge_all(&mut changes, &values::parse_set(set)?);
        }
        Ok(changes)
    }
}

/// Like [`values::merge`], but `null` stays: it removes what the chart sets.
pub(crate) fn merge_all(changes: &mut Value, more: &Value) {
    match (changes, more) {
        (Value::Object(changes), Value::Object(more)) => {
            for (name, more) in more {
                merge_all(changes.entry(name.clone()).or_insert(Value::Null), more);
            }
        }
        (change, more) => *change = more.clone(),
    }
}

/// The label `app.kubernetes.io/managed-by`, and the field manager.
pub(crate) const MANAGER: &str = "outrigger";
/// The ConfigMap that has what was asked for.
pub(crate) const RECORD: &str = "outrigger-install";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_settings_win_and_null_is_kept_for_the_chart() {
        let values = Values {
            set: vec!["ha=true,injector.replicas=2".into(), "injector.replicas=null".into()],
            files: Vec::new(),
        };
        assert_eq!(values.changes().unwrap(), json!({"ha": true, "injector": {"replicas": null}}));
    }

    #[test]
    fn the_namespace_and_the_custom_resources_come_first() {
        let objects = objects("mesh", &json!({"revision": "blue"})).unwrap();
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds[..2], ["Namespace", "CustomResourceDefinition"]);
        let instance = &objects[3]["metadata"]["labels"]["app.kubernetes.io/instance"];
        assert_eq!(instance, "outrigger-blue");
    }
}
