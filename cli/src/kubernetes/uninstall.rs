//! Removing a mesh, and all that it made by itself.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Output, Stream};
use tokio::time::{Duration, Instant};

use super::objects::{self, KINDS, Kind};
use super::{Cluster, install, sidecars};
use crate::chart::CRDS;
use crate::cluster::Uninstall;
use crate::installation::MANAGER;

/// `outrigger uninstall`.
pub(crate) async fn uninstall(options: &Uninstall, output: &Output) -> anyhow::Result<Exit> {
    let cluster = Cluster::connect(&options.target).await?;
    if let Some(manager) = cluster.manager().await?.filter(|manager| manager != MANAGER) {
        return Err(install::someone_elses(&cluster, &manager));
    }
    let others = cluster.other_meshes().await?;
    if !options.force {
        let meshed = sidecars::meshed(&cluster).await?;
        if !meshed.is_empty() && others.is_empty() {
            return Err(still_meshed(&meshed));
        }
        for kind in objects::OWN_KINDS.iter().filter(|_| others.is_empty()) {
            let written = cluster.written(*kind).await?;
            if !written.is_empty() {
                return Err(still_written(*kind, &written));
            }
        }
    }
    let removed = cluster.remove(&others, output).await?;
    for namespace in labelled(&cluster).await? {
        output
            .warning(&format!("namespace {namespace} still has the label outrigger.io/inject, which nobody reads now"));
    }
    let words = if removed == 0 { "there was nothing to remove" } else { "Outrigger is gone" };
    output.line(Stream::Stderr, words);
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

fn still_written(kind: Kind, written: &[String]) -> anyhow::Error {
    let message = format!("{} {} objects would go with their kind: {}", written.len(), kind.kind, written.join(", "));
    let (group, plural, _) = kind.in_review();
    let hint = format!("keep a copy: kubectl get {plural}.{group} -A -o yaml; then delete them, or --force");
    Failure { message, hint: Some(hint), exit: Exit::No }.into()
}

impl Cluster {
    /// Removes kind by kind; returns how many objects there were.
    async fn remove(&self, others: &[String], output: &Output) -> anyhow::Result<usize> {
        let end = Instant::now() + self.timeout;
        let instance = self.instance().await?;
        let mut removed = 0;
        for kind in KINDS {
            let mut names = self.ours(*kind, &instance).await?;
            if kind.kind == "CustomResourceDefinition" && others.is_empty() {
                names.extend(self.ours(*kind, CRDS.name).await?);
            }
            names.extend(MADE.iter().filter(|(made, _)| *made == kind.kind).map(|(_, name)| (*name).to_owned()));
            for name in &names {
                removed += usize::from(self.remove_one(*kind, name, output).await?);
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
        Ok(removed)
    }

    async fn remove_one(&self, kind: Kind, name: &str, output: &Output) -> anyhow::Result<bool> {
        // In the foreground: a Deployment is gone when its pods are.
        match gone_is_fine(kind.api(self).delete(name, &DeleteParams::foreground()).await) {
            Ok(there) => {
                if there {
                    output.line(Stream::Stderr, &format!("  removed {}", kind.called(name)));
                }
                Ok(there)
            }
            Err(error) => Err(self.failure(&format!("cannot remove {}", kind.called(name)), error)),
        }
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

    /// The objects of a kind in all namespaces, as `namespace/name`.
    async fn written(&self, kind: Kind) -> anyhow::Result<Vec<String>> {
        let found = kind.everywhere(self).list_metadata(&ListParams::default()).await;
        match found {
            Ok(found) => Ok(found.items.iter().map(objects::full_name).collect()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(self.failure(&format!("cannot list {} objects", kind.kind), error)),
        }
    }

    /// The namespaces of other meshes: of another revision, or made by Helm.
    async fn other_meshes(&self) -> anyhow::Result<Vec<String>> {
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
    ("Lease", "outrigger-status"),
];
const MESHED_NOWHERE: &String = &String::new();
const LOOK: Duration = Duration::from_millis(100);
