use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::*;

fn release() -> Release {
    Release { name: "outrigger".into(), namespace: "outrigger-system".into(), service: "outrigger".into() }
}

#[test]
fn carries_every_file_of_the_charts() {
    for chart in [CRDS, MESH] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts").join(chart.name);
        let mut there = BTreeSet::new();
        for (prefix, folder) in [("templates/", folder.join("templates")), ("", folder)] {
            for entry in folder.read_dir().unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                if entry.path().is_file() && !NOT_RENDERED.contains(&name.as_str()) {
                    there.insert(format!("{prefix}{name}"));
                }
            }
        }
        assert_eq!(there, chart.files.iter().map(|file| file.path.to_owned()).collect(), "cli/src/chart/files.rs");
    }
}

const NOT_RENDERED: &[&str] = &[".helmignore", "NOTES.txt", "README.md", "values-ha.yaml"];

#[test]
fn objects_come_in_the_order_to_apply_them() {
    let objects = MESH.render(&release(), &[]).unwrap();

    let kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.last(), Some(&"MutatingWebhookConfiguration"));
    let at = |kind: &str| kinds.iter().position(|known| *known == kind).unwrap();
    assert!(at("ServiceAccount") < at("ClusterRoleBinding") && at("RoleBinding") < at("Deployment"), "{kinds:?}");
    assert!(kinds.iter().all(|kind| order::rank(&json!({"kind": kind})) < 14), "every kind has a rank: {kinds:?}");
}

#[test]
fn every_object_has_the_recommended_labels() {
    let objects = [CRDS, MESH].iter().flat_map(|chart| chart.render(&release(), &[]).unwrap()).collect::<Vec<_>>();
    for object in objects {
        for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            let label = format!("app.kubernetes.io/{label}");
            assert!(object["metadata"]["labels"][&label].is_string(), "{label} of {}", object["metadata"]["name"]);
        }
    }
}

#[test]
fn every_value_has_a_rule_and_a_line_in_the_readme() {
    for chart in [CRDS, MESH] {
        let schema: Value = serde_json::from_str(chart.file("values.schema.json").unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts").join(chart.name);
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let mut paths = Vec::new();
        collect(&schema, &chart.default_values().unwrap(), "", &mut paths);
        assert!(!paths.is_empty());
        for path in paths {
            assert!(readme.contains(&format!("| `{path}` |")), "{}/README.md: {path}", chart.name);
        }
    }
}

/// The paths of all values, as deep as the schema names them.
fn collect(schema: &Value, values: &Value, path: &str, paths: &mut Vec<String>) {
    let Some(known) = schema["properties"].as_object() else {
        paths.push(path.to_owned());
        return;
    };
    for (name, value) in values.as_object().into_iter().flatten() {
        let rule = known.get(name).unwrap_or_else(|| panic!("{path}.{name} is not in the schema"));
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(rule, value, &path, paths);
    }
}

#[test]
fn values_outside_the_schema_are_refused() {
    let error = MESH.render(&release(), &[json!({"controlPlane": {"replica": 3}})]).unwrap_err();
    assert_eq!(error.to_string(), "there is no value `controlPlane.replica`");
}
