//! `outrigger apply`: server-side apply of what the mesh reads, and the wait until it is in force.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Format, Output};
use serde_json::Value;

use crate::cluster::{Change, Target};
use crate::{flags, kubernetes, manifest};

/// `outrigger apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// YAML or JSON with routes, policies or Workloads: a file, a folder of such files, or `-` for stdin (repeatable).
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Wait until every sidecar that subscribes has the routes in force.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = flags::duration)]
    timeout: Duration,
    /// The namespace of objects that name none; without it, the context's.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Take over fields that others have set.
    #[arg(long)]
    force_conflicts: bool,
    /// The kubeconfig file; without it, what KUBECONFIG names, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Output format of the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Exit 0: applied, and with --wait in force; 1: the mesh refuses some of it; 2: it could not be done; 3: not in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (objects, others): (Vec<Value>, Vec<Value>) = objects(&args.files)?.into_iter().partition(is_of_the_mesh);
    for other in &others {
        let text = |field: &str| other[field].as_str().unwrap_or("?").to_owned();
        let name = other["metadata"]["name"].as_str().unwrap_or("?");
        output.warning(&format!("left alone: {} {name} ({}): kubectl applies it", text("kind"), text("apiVersion")));
    }
    if objects.is_empty() {
        return Err(Failure::new("there is no route or policy in these files", "name others with --filename").into());
    }
    let target = Target {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        // Nothing of the mesh itself is looked at.
        mesh_namespace: "outrigger-system".to_owned(),
        timeout: args.timeout,
    };
    let change = Change {
        target,
        namespace: args.namespace.clone(),
        force_conflicts: args.force_conflicts,
        wait: args.wait,
        format: args.output,
    };
    kubernetes::change(&change, objects, output).await
}

fn objects(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for path in files.iter().map(|path| inside(path)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        let text = manifest::read(&path)?;
        let documents = manifest::split(&text).map_err(|error| {
            Failure::new(format!("{}:{error}", path.display()), "mend the file; nothing was applied")
        })?;
        for document in documents {
            match document.object {
                list if list["kind"] == "List" => objects.extend(list["items"].as_array().cloned().unwrap_or_default()),
                object => objects.push(object),
            }
        }
    }
    Ok(objects)
}

/// The file itself, or the manifests of a folder by name.
fn inside(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = || format!("cannot read {}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unreadable)? {
        let file = entry.with_context(unreadable)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if file.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the mesh reads it, and nobody else brings it.
fn is_of_the_mesh(object: &Value) -> bool {
    let (version, kind) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str());
    match version.split_once('/').map_or("", |(group, _)| group) {
        "outrigger.io" => true,
        "gateway.networking.k8s.io" => kind.is_some_and(|kind| kind.ends_with("Route") && kind != "UDPRoute"),
        "gateway.networking.x-k8s.io" => kind == Some("XBackendTrafficPolicy"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_what_the_mesh_reads_and_leaves_the_rest_alone() {
        for (version, kind, ours) in [
            ("gateway.networking.k8s.io/v1", "HTTPRoute", true),
            ("gateway.networking.k8s.io/v1", "GRPCRoute", true),
            ("gateway.networking.k8s.io/v1", "Gateway", false),
            ("gateway.networking.k8s.io/v1", "UDPRoute", false),
            ("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", true),
            ("outrigger.io/v1alpha1", "TrafficPolicy", true),
            ("v1", "Service", false),
            ("apps/v1", "Deployment", false),
        ] {
            assert_eq!(is_of_the_mesh(&json!({"apiVersion": version, "kind": kind})), ours, "{version} {kind}");
        }
    }

    #[test]
    fn a_folder_is_read_in_order_and_a_list_is_taken_apart() {
        let folder = std::env::temp_dir().join(format!("outrigger-apply-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("b.yaml"), "kind: B\n---\n# nothing\n").unwrap();
        std::fs::write(folder.join("a.json"), r#"{"kind": "List", "items": [{"kind": "A1"}, {"kind": "A2"}]}"#)
            .unwrap();
        std::fs::write(folder.join("readme.md"), "kind: none").unwrap();

        let objects = objects(std::slice::from_ref(&folder));
        std::fs::remove_dir_all(&folder).unwrap();

        let kinds: Vec<_> = objects.unwrap().iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["A1", "A2", "B"]);
    }
}
