//! `outrigger inject`: gives the workloads in manifests their sidecar, without a cluster, exactly as the webhook would.

mod workload;

use std::path::PathBuf;

use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Output, Stream};
use outrigger_injector::{MetricsFrom, Settings};

use self::workload::Summary;
use crate::manifest::{self, Document};

/// `outrigger inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// YAML or JSON with workloads, `-` for stdin (repeatable).
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// PEM file of the mesh's trust anchors: `root.pem` of the ConfigMap `outrigger-trust-bundle`.
    #[arg(long, env = "OUTRIGGER_TRUST_ANCHORS", value_name = "FILE")]
    trust_anchors: PathBuf,
    /// Image of the sidecar.
    #[arg(long, value_name = "IMAGE", default_value = concat!("outrigger/sidecar:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// When the kubelet pulls it; Kubernetes' own default if not given.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// The namespace of the mesh.
    #[arg(long, value_name = "NAME", default_value = "outrigger-system")]
    mesh_namespace: String,
    /// The trust domain of the mesh.
    #[arg(long, value_name = "NAME", default_value = "mesh.local")]
    trust_domain: String,
    /// Where sidecars send traces, OTLP over gRPC, such as `http://collector.tracing:4317`.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Clients that may read the sidecars' metrics, unless a pod sets it.
    #[arg(long, value_name = "CLIENTS", value_enum, default_value_t)]
    metrics: MetricsFrom,
}

/// Exit 0: all workloads have a sidecar now, or ask for none; 1: one could not be given any; 2: something cannot be read.
pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    let mut summary = Summary::default();
    let mut first = true;
    for path in &args.files {
        let text = manifest::read(path)?;
        let documents = manifest::split(&text).map_err(|error| {
            Failure::new(format!("{}:{error}", path.display()), "mend the file; nothing after it was written")
        })?;
        for document in documents {
            let text = written(document, &settings, &mut summary)?;
            // JSON files hold one document; between YAML documents stands a marker.
            output.data(&if first { text } else { format!("---\n{text}") });
            first = false;
        }
    }
    for line in &summary.lines {
        output.line(Stream::Stderr, line);
    }
    summary.warnings.iter().for_each(|warning| output.warning(warning));
    output.line(Stream::Stderr, &summary.total());
    Ok(if summary.refused == 0 { Exit::Yes } else { Exit::No })
}

/// A document with sidecars; one that needs none is written as it was, comments included.
fn written(document: Document<'_>, settings: &Settings, summary: &mut Summary) -> anyhow::Result<String> {
    let Document { text, mut object } = document;
    if !workload::inject(&mut object, settings, summary) {
        return Ok(text.trim_matches('\n').to_owned());
    }
    if text.trim_start().starts_with('{') {
        return Ok(serde_json::to_string_pretty(&object)?);
    }
    Ok(serde_saphyr::to_string(&object)?.trim_end().to_owned())
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let path = &args.trust_anchors;
    let hint = format!(
        "kubectl get configmap -n {} outrigger-trust-bundle -o jsonpath='{{.data.root\\.pem}}' > root.pem",
        args.mesh_namespace
    );
    let trust_anchors = match std::fs::read_to_string(path) {
        Ok(pem) if pem.contains("BEGIN CERTIFICATE") => pem,
        Ok(_) => return Err(Failure::new(format!("{} holds no certificate in PEM form", path.display()), hint).into()),
        Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", path.display()), hint).into()),
    };
    Ok(Settings {
        image: args.image.clone(),
        pull_policy: args.image_pull_policy.clone(),
        control_plane: format!("outrigger-control-plane.{}.svc:4180", args.mesh_namespace),
        trust_domain: args.trust_domain.clone(),
        trust_anchors,
        otlp: args.otlp.clone(),
        metrics: args.metrics,
    })
}
