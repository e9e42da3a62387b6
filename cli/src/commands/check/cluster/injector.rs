//! The injector and what the API server knows of it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::super::finding::{Category, Check, error, ok};
use super::control_plane::available;
use crate::kubernetes::{Cluster, sidecars};

/// Looks at the Deployment and the webhook configuration, and has a pod injected by a dry run.
pub(super) async fn look(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Category> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let deployment = deployments.get_opt(NAME).await;
    let deployment = deployment.map_err(|error| cluster.failure(&format!("cannot read deployment/{NAME}"), error))?;
    let revision = deployment.as_ref().and_then(|deployment| {
        deployment.metadata.labels.as_ref().and_then(|labels| labels.get("outrigger.io/rev").cloned())
    });
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = revision.as_ref().map_or_else(|| NAME.to_owned(), |revision| format!("{NAME}-{revision}"));
    let webhook = webhooks.get_opt(&name).await;
    let webhook =
        webhook.map_err(|error| cluster.failure(&format!("cannot read webhook configuration {name}"), error))?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let bundle = maps.get_opt("outrigger-trust-bundle").await.ok().flatten();
    let bundle = bundle.and_then(|bundle| bundle.data).and_then(|mut data| data.remove("root.pem")).unwrap_or_default();

    let mut checks = vec![deployment.as_ref().map_or_else(
        || error("OC050", format!("there is no deployment/{NAME}"), "`outrigger upgrade` puts it back"),
        |deployment| available("OC050", deployment),
    )];
    checks.extend(configuration(webhook.as_ref(), &name, &bundle));
    if checks.iter().all(|check| check.hint.is_none()) {
        checks.push(dry_run(cluster, namespace.unwrap_or("default"), revision.as_deref()).await);
    }
    Ok(Category::new("injector", checks))
}

fn configuration(webhook: Option<&MutatingWebhookConfiguration>, name: &str, bundle: &str) -> Vec<Check> {
    let back = "`outrigger upgrade` puts it back";
    let Some(webhook) = webhook else {
        return vec![error("OC051", format!("there is no webhook configuration {name}"), back)];
    };
    let webhooks = webhook.webhooks.as_deref().unwrap_or_default();
    let lenient = webhooks.iter().find(|webhook| webhook.failure_policy.as_deref() != Some("Fail"));
    let known = match (webhooks.len(), lenient) {
        (0, _) => error("OC051", format!("webhook configuration {name} is empty"), back),
        (_, Some(lenient)) => {
            let message =
                format!("{} lets labelled pods start without a sidecar: its failurePolicy is not Fail", lenient.name);
            error("OC051", message, back)
        }
        (count, None) => ok("OC051", format!("the API server knows its {count} webhooks")),
    };
    let trusted = webhooks.iter().all(|webhook| {
        let written = webhook.client_config.ca_bundle.as_ref();
        written.is_some_and(|written| !written.0.is_empty() && same_pem(&String::from_utf8_lossy(&written.0), bundle))
    });
    let trust = if trusted {
        ok("OC052", "the API server trusts it")
    } else {
        let hint = "the control plane keeps it current: read its log";
        error("OC052", "caBundle of its webhooks is not the trust bundle", hint)
    };
    vec![known, trust]
}

fn same_pem(left: &str, right: &str) -> bool {
    left.split_whitespace().eq(right.split_whitespace())
}

/// Has the API server admit a pod that is then not made.
async fn dry_run(cluster: &Cluster, namespace: &str, revision: Option<&str>) -> Check {
    let mut labels = json!({"outrigger.io/inject": "enabled"});
    if let Some(revision) = revision {
        labels["outrigger.io/rev"] = revision.into();
    }
    let pod = json!({
        "metadata": {"generateName": "outrigger-check-", "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let hint = "`outrigger explain OC053` says what to look at";
    let pod: Pod = match serde_json::from_value(pod) {
        Ok(pod) => pod,
        Err(error) => return self::error("OC053", error.to_string(), hint),
    };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    match pods.create(&PostParams { dry_run: true, field_manager: None }, &pod).await {
        Ok(pod) if sidecars::has_sidecar(&pod) => {
            ok("OC053", format!("a labelled pod in {namespace} gets a sidecar (dry run)"))
        }
        Ok(_) => error("OC053", format!("a labelled pod in {namespace} got no sidecar (dry run)"), hint),
        Err(kube::Error::Api(status)) => error("OC053", format!("dry run in {namespace}: {}", status.message), hint),
        Err(why) => error("OC053", format!("dry run in {namespace}: {why}"), hint),
    }
}

const NAME: &str = "outrigger-injector";

#[cfg(test)]
mod tests {
    use super::super::super::finding::Level;
    use super::*;

    fn webhook(policy: &str, bundle: &str) -> MutatingWebhookConfiguration {
        let bundle = data_encoding(bundle);
        serde_json::from_value(json!({"webhooks": [{"name": "pod.inject.outrigger.io", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": policy, "clientConfig": {"caBundle": bundle}}]}))
        .unwrap()
    }

    fn data_encoding(text: &str) -> serde_json::Value {
        serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
    }

    fn levels(webhook: Option<&MutatingWebhookConfiguration>) -> Vec<(&'static str, Level)> {
        configuration(webhook, NAME, "root\n").iter().map(|check| (check.code, check.level)).collect()
    }

    #[test]
    fn a_webhook_that_was_changed_is_found() {
        assert_eq!(levels(Some(&webhook("Fail", "root"))), [("OC051", Level::Ok), ("OC052", Level::Ok)]);
        assert_eq!(levels(Some(&webhook("Ignore", "root")))[0], ("OC051", Level::Error));
        assert_eq!(levels(Some(&webhook("Fail", "other")))[1], ("OC052", Level::Error));
        assert_eq!(levels(Some(&webhook("Fail", "")))[1], ("OC052", Level::Error));
        assert_eq!(levels(None), [("OC051", Level::Error)]);
    }
}
