//! Labels that look as if they asked for a sidecar, or for none, and do not.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use super::owner::Owner;
use super::{INJECT, Labels, NEVER, REV, Seen};
use crate::check::finding::{Check, warn};
use crate::kubernetes::Cluster;

/// The revisions of which there is an injector; the default one is the empty text.
pub(super) async fn revisions(cluster: &Cluster) -> kube::Result<BTreeSet<String>> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let found = api.list_metadata(&ListParams::default()).await?;
    let revision = |name: &str| {
        let rest = name.strip_prefix("outrigger-injector")?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('-').map(str::to_owned) }
    };
    Ok(found.items.iter().filter_map(|found| revision(found.metadata.name.as_deref()?)).collect())
}

impl Seen<'_> {
    /// Labels and annotations that nobody reads.
    pub(super) fn meaningless(&self) -> Vec<Check> {
        let of_others = |name: &str| name == self.mesh_namespace || NEVER.contains(&name);
        let mut checks = Vec::new();
        for (name, namespace) in self.namespaces.iter().filter(|(name, _)| !of_others(name)) {
            for what in mistakes(namespace, &["enabled", "disabled"]) {
                let hint = format!("kubectl label namespace {name} {INJECT}=enabled --overwrite");
                checks.push(warn("OC035", format!("namespace {name}: {what}"), hint));
            }
        }
        let mut of_pods: BTreeMap<(Owner, String), &Pod> = BTreeMap::new();
        for pod in &self.pods {
            for what in mistakes(&pod.metadata, &["enabled", "disabled"]) {
                of_pods.insert((Owner::of(pod), what), pod);
            }
        }
        for ((owner, what), _) in of_pods {
            let hint = format!("in the template's labels, `{INJECT}: disabled` is for none, and `enabled` for one");
            checks.push(warn("OC035", format!("{owner}: {what}"), hint));
        }
        checks
    }

    /// Namespaces and pods of a revision that nobody injects for.
    pub(super) fn without_an_injector(&self) -> Vec<Check> {
        let Some(known) = &self.revisions else { return Vec::new() };
        let none = Labels::new();
        let in_words = |revision: &str| match revision {
            "" => "the default revision".to_owned(),
            revision => format!("revision {revision}"),
        };
        let right = match self.revision {
            "" => format!("{REV}-"),
            revision => format!("{REV}={revision}"),
        };
        let mut checks = Vec::new();
        for name in self.namespaces.keys().filter(|name| self.asks_at_all(name, &none)) {
            let revision = self.revision_for(name, &none);
            if !known.contains(revision) {
                let revision = in_words(revision);
                let message = format!("namespace {name} asks for {revision}, which has no injector: no sidecars there");
                checks.push(warn("OC036", message, format!("kubectl label namespace {name} {right} --overwrite")));
            }
        }
        let mut owners = BTreeMap::new();
        for pod in &self.pods {
            let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
            let name = pod.metadata.namespace.as_deref().unwrap_or_default();
            let Some(revision) = labels.get(REV) else { continue };
            if self.asks_at_all(name, labels) && !known.contains(revision) {
                owners.insert(Owner::of(pod), in_words(revision));
            }
        }
        checks.extend(owners.into_iter().map(|(owner, revision)| {
            let message = format!("{owner}: its pods ask for {revision}, which has no injector: no sidecars there");
            warn("OC036", message, format!("mend or remove the label {REV} in the template"))
        }));
        checks
    }
}

/// What in an object's labels and annotations is meant for the injector and means nothing to it.
fn mistakes(object: &ObjectMeta, values: &[&str]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (label, value) in object.labels.iter().flatten() {
        if label == INJECT && !values.contains(&value.as_str()) {
            mistakes.push(format!("label {label}={value} means nothing: the value is {}", values.join(" or ")));
        } else if resembles(label) {
            mistakes.push(format!("label {label}={value} means nothing: its name is {INJECT}"));
        }
    }
    for (annotation, value) in object.annotations.iter().flatten() {
        if annotation == INJECT || resembles(annotation) && annotation != "outrigger.io/injected" {
            mistakes.push(format!("annotation {annotation}={value} means nothing: {INJECT} is a label"));
        }
    }
    mistakes
}

/// Whether somebody may have meant our label. Those of other meshes have their own prefixes.
fn resembles(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').unwrap_or(("", key));
    if key == INJECT || !name.contains("inject") {
        return false;
    }
    match prefix {
        "" => name.contains("outrigger") || ["inject", "injection", "sidecar-injection"].contains(&name),
        prefix => prefix.contains("outrigger"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_be_ours_resembles_our_label() {
        for ours in
            ["injection", "inject", "outrigger-injection", "outrigger.io/injection", "inject.outrigger.io/inject"]
        {
            assert!(resembles(ours), "{ours}");
        }
        for other in ["istio-injection", "linkerd.io/inject", "sidecar.istio.io/inject", INJECT, REV, "app", "injector"]
        {
            assert!(!resembles(other), "{other}");
        }
    }
}
