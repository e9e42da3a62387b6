//! The Helm charts of `deploy/charts`, rendered without Helm: `outrigger install` and `helm install` make the same objects.
//!
//! [`template`] is the part of Go's template language that the charts use, exactly; what it does not know is an error, never a
//! guess. `tests/tests/helm` compares the objects with those of the real Helm.
//!
//! ```text
//! values.yaml ◀─ --values ◀─ --set ─▶ schema ─▶ template ─▶ YAML ─▶ objects, in the order to apply them
//! ```

mod files;
mod order;
mod schema;
pub mod template;
pub mod values;

use anyhow::Context as _;
use serde_json::{Value, json};

use self::files::File;
use self::template::Templates;

/// A chart that this binary carries.
#[derive(Debug, Clone, Copy)]
pub struct Chart {
    /// The name in Chart.yaml.
    pub name: &'static str,
    files: &'static [File],
}

/// What the templates know as `.Release`.
#[derive(Debug, Clone)]
pub struct Release {
    /// `.Release.Name`.
    pub name: String,
    /// `.Release.Namespace`.
    pub namespace: String,
    /// `.Release.Service`: who manages the objects.
    pub service: String,
}

/// The custom resources.
pub const CRDS: Chart = Chart { name: "outrigger-crds", files: files::CRDS };
/// The mesh.
pub const MESH: Chart = Chart { name: "outrigger", files: files::MESH };

impl Chart {
    /// The values that hold when nobody sets others.
    ///
    /// # Errors
    /// When the chart's own file is faulty, which a test would have found.
    pub fn default_values(&self) -> anyhow::Result<Value> {
        serde_saphyr::from_str(self.file("values.yaml")?).context("values.yaml of the chart")
    }

    /// Renders the chart: all its objects, in the order in which they are applied.
    ///
    /// # Errors
    /// When the values are not what the chart's schema asks for.
    pub fn render(&self, release: &Release, changes: &[Value]) -> anyhow::Result<Vec<Value>> {
        let mut values = self.default_values()?;
        for change in changes {
            values::merge(&mut values, change);
        }
        let schema: Value = serde_json::from_str(self.file("values.schema.json")?)?;
        schema::check(&schema, &values)?;
        let context = json!({
            "Values": values,
            "Release": {"Name": release.name, "Namespace": release.namespace, "Service": release.service},
            "Chart": self.chart()?,
        });
        let mut templates = Templates::default();
        let is_template = |file: &&File| file.path.starts_with("templates/") && !file.path.ends_with(".txt");
        for file in self.files.iter().filter(is_template) {
            templates.add(file.path, file.text)?;
        }
        let mut objects = Vec::new();
        for file in self.files.iter().filter(is_template).filter(|file| file.path.ends_with(".yaml")) {
            let yaml = templates.render(file.path, &context)?;
            let documents: Vec<Option<Value>> =
                serde_saphyr::from_multiple(&yaml).with_context(|| format!("{} does not render to YAML", file.path))?;
            objects.extend(documents.into_iter().flatten().filter(|document| !document.is_null()));
        }
        objects.sort_by_key(order::rank);
        Ok(objects)
    }

    /// `.Chart`: the fields of Chart.yaml, with a capital first letter, as Go has them.
    fn chart(&self) -> anyhow::Result<Value> {
        let written: Value = serde_saphyr::from_str(self.file("Chart.yaml")?).context("Chart.yaml")?;
        let fields = written.as_object().into_iter().flatten().map(|(name, value)| {
            let (first, rest) = name.split_at(1);
            (first.to_uppercase() + rest, value.clone())
        });
        Ok(Value::Object(fields.collect()))
    }

    fn file(&self, path: &str) -> anyhow::Result<&'static str> {
        let file = self.files.iter().find(|file| file.path == path);
        file.map(|file| file.text).with_context(|| format!("the chart {} has no {path}", self.name))
    }
}

#[cfg(test)]
mod tests;
