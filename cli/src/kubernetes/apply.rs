//! Server-side apply, and removing what a new version no longer has.

use std::collections::BTreeSet;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use outrigger_console::exit::Failure;
use outrigger_console::output::{Output, Stream};
use serde_json::Value;

use super::objects::{KINDS, Kind, name};
use super::{Cluster, uninstall};
use crate::installation::MANAGER;

impl Cluster {
    /// Applies objects in their order. A namespace that somebody else made is left as it is.
    pub(super) async fn apply(&self, objects: &[Value], force: bool, output: &Output) -> anyhow::Result<()> {
        let mut params = PatchParams::apply(MANAGER);
        params.force = force;
        for object in objects {
            let kind = Kind::of(object)?;
            let called = kind.called(name(object));
            if kind.kind == "Namespace" && self.is_someone_elses(object).await? {
                continue;
            }
            let applied = kind.api(self).patch(name(object), &params, &Patch::Apply(object)).await;
            applied.map_err(|error| self.not_applied(kind, &called, error))?;
            output.line(Stream::Stderr, &format!("  applied {called}"));
        }
        Ok(())
    }

    fn not_applied(&self, kind: Kind, called: &str, error: kube::Error) -> anyhow::Error {
        if matches!(&error, kube::Error::Api(status) if status.code == 404 && kind.kind.ends_with("Monitor")) {
            let hint =
                "install the Prometheus operator first, or set podMonitor.enabled and serviceMonitor.enabled to false";
            return Failure::new(format!("cannot apply {called}: this cluster has no kind {}", kind.kind), hint).into();
        }
        self.failure(&format!("cannot apply {called}"), error)
    }

    /// Removes objects of this instance that are not among these.
    pub(super) async fn prune(&self, instance: &str, keep: &[Value], output: &Output) -> anyhow::Result<()> {
        let keep: BTreeSet<_> = keep.iter().map(|object| (object["kind"].as_str(), name(object))).collect();
        for kind in KINDS {
            for there in self.ours(*kind, instance).await? {
                if !keep.contains(&(Some(kind.kind), there.as_str())) {
                    let deleted = kind.api(self).delete(&there, &DeleteParams::background()).await;
                    uninstall::gone_is_fine(deleted)
                        .map_err(|error| self.failure(&format!("cannot remove {}", kind.called(&there)), error))?;
                    output.line(Stream::Stderr, &format!("  removed {}", kind.called(&there)));
                }
            }
        }
        Ok(())
    }

    /// The names of this instance's objects of a kind.
    pub(super) async fn ours(&self, kind: Kind, instance: &str) -> anyhow::Result<Vec<String>> {
        let selector = format!("app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/instance={instance}");
        match kind.api(self).list_metadata(&ListParams::default().labels(&selector)).await {
            Ok(found) => Ok(found.items.into_iter().filter_map(|object| object.metadata.name).collect()),
            // A cluster without the Prometheus operator has no monitors.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(self.failure(&format!("cannot list objects of kind {}", kind.kind), error)),
        }
    }

    /// Whether the namespace was there before us.
    async fn is_someone_elses(&self, namespace: &Value) -> anyhow::Result<bool> {
        let kind = Kind::of(namespace)?;
        let there = kind.api(self).get_opt(name(namespace)).await;
        let there = there.map_err(|error| self.failure(&format!("cannot read namespace {}", self.namespace), error))?;
        let manager = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get("app.kubernetes.io/managed-by").is_some_and(|manager| manager == MANAGER)
        };
        Ok(there.is_some_and(|there| !there.metadata.labels.as_ref().is_some_and(manager)))
    }
}
