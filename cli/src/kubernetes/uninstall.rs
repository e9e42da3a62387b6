//! Removing a mesh, and all that it made by itself.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use tokio::time::{Duration, Instant};

use super::objects::{KINDS, Kind};
use super::{Cluster, sidecars};
use crate::chart::CRDS;
use crate::commands::render::{self, MANAGER};
use crate::commands::uninstall::Args;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Stream};

/// `outrigger uninstall`.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let cluster = Cluster::connect(&args.cluster).await?;
    if let Some(manager) = cluster.manager().await?.filter(|manager| manager != MANAGER) {
        let hint = "uninstall it with the tool that installed it, such as `helm uninstall`; run this again for what that leaves";
        return Err(Failure::new(format!("the mesh in {} is managed by {manager:?}", cluster.namespace), hint).into());
    }
    let meshed = sidecars::meshed(&cluster).await?;
    if !meshed.is_empty() && !args.force {
        return Err(still_meshed(&meshed));
    }
    cluster.remove(&render::instance(&args.revision), output).await?;
    for namespace in labelled(&cluster).await? {
        output
            .warning(&format!("namespace {namespace} still has the label outrigger.io/inject, which nobody reads now"));
    }
    output.line(Stream::Stderr, "Outrigger is gone");
    Ok(Exit::Yes)
}

fn still_meshed(meshed: &sidecars::Meshed) -> anyhow::Error {
    let pods: usize = meshed.values().sum();
    let (first, _) = meshed.first_key_value().unwrap_or((MESHED_NOWHERE, &0));
    let names: Vec<String> = meshed.iter().map(|(namespace, pods)| format!("{namespace} ({pods})")).collect();
    let hint = format!(
        "kubectl label namespace {first} outrigger.io/inject- && kubectl rollout restart -n {first} deployment; \
         or --force: they go on until their certificates expire"
    );
    let message = format!("{pods} pods still have a sidecar: {}", names.join(", "));
    Failure { message, hint: Some(hint), exit: Exit::No }.into()
}

impl Cluster {
    async fn remove(&self, instance: &str, output: &Output) -> anyhow::Result<()> {
        let end = Instant::now() + self.timeout;
        let others = self.other_meshes().await?;
        for kind in KINDS {
            let mut names = self.ours(*kind, instance).await?;
            if kind.kind == "CustomResourceDefinition" && others.is_empty() {
                names.extend(self.ours(*kind, CRDS.name).await?);
            }
            names.extend(MADE.iter().filter(|(made, _)| *made == kind.kind).map(|(_, name)| (*name).to_owned()));
            for name in &names {
                self.remove_one(*kind, name, output).await?;
            }
            // What comes next in the order may be written by what is still there.
            for name in &names {
                self.wait_until_gone(*kind, name, end).await?;
            }
        }
        if !others.is_empty() {
            let others = others.join(", ");
            output.warning(&format!("the custom resources stay: there is another mesh in {others}"));
        }
        Ok(())
    }

    async fn remove_one(&self, kind: Kind, name: &str, output: &Output) -> anyhow::Result<()> {
        // In the foreground: a Deployment is gone when its pods are.
        match gone_is_fine(kind.api(self).delete(name, &DeleteParams::foreground()).await) {
            Ok(true) => output.line(Stream::Stderr, &format!("  removed {}", kind.called(name))),
            Ok(false) => {}
            Err(error) => return Err(self.failure(&format!("cannot remove {}", kind.called(name)), error)),
        }
        Ok(())
    }

    async fn wait_until_gone(&self, kind: Kind, name: &str, end: Instant) -> anyhow::Result<()> {
        loop {
            let there = kind.api(self).get_metadata_opt(name).await;
            let there = there.map_err(|error| self.failure(&format!("cannot read {}", kind.called(name)), error))?;
            let Some(there) = there else { return Ok(()) };
            if Instant::now() >= end {
                let finalizers = there.metadata.finalizers.unwrap_or_default().join(", ");
                let message = format!("{} is still there; it waits for: {finalizers}", kind.called(name));
                let hint = Some("run it again, or look at who should remove those finalizers".to_owned());
                return Err(Failure { message, hint, exit: Exit::TimedOut }.into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The namespaces of other meshes: of another revision, or made by Helm.
    async fn other_meshes(&self) -> anyhow::Result<Vec<String>> {
        use k8s_openapi::api::apps::v1::Deployment;
        let deployments: Api<Deployment> = Api::all(self.client.clone());
        let selector = "app.kubernetes.io/name=outrigger-control-plane";
        let found = deployments.list_metadata(&ListParams::default().labels(selector)).await;
        let found = found.map_err(|error| self.failure("cannot look for other meshes", error))?;
        let namespaces = found.items.into_iter().filter_map(|deployment| deployment.metadata.namespace);
        Ok(namespaces.filter(|namespace| *namespace != self.namespace).collect())
    }
}

/// Whether something was there to be deleted.
pub(super) fn gone_is_fine<T>(deleted: kube::Result<T>) -> kube::Result<bool> {
    match deleted {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn labelled(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let labelled = namespaces.list_metadata(&ListParams::default().labels("outrigger.io/inject=enabled")).await;
    let labelled = labelled.map_err(|error| cluster.failure("cannot list namespaces", error))?;
    Ok(labelled.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect())
}

/// What the control plane makes by itself.
const MADE: &[(&str, &str)] = &[
    ("Secret", "outrigger-ca"),
    ("Secret", "outrigger-injector-tls"),
    ("ConfigMap", "outrigger-trust-bundle"),
    ("Lease", "outrigger-issuer"),
];
const MESHED_NOWHERE: &String = &String::new();
const LOOK: Duration = Duration::from_millis(300);
