//! The injector and what the API server knows of it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::control_plane::available;
use super::{allowed, certificates};
use outrigger_daemon::error_chain;

use crate::check::finding::{Category, Check, error, ok, warn};
use crate::kubernetes::{Cluster, sidecars};

/// Looks at the Deployment and the webhook configuration, and has a pod injected by a dry run.
pub(super) async fn look(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Category> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut checks = Vec::new();
    let deployment = deployments.get_opt(NAME).await;
    let deployment = allowed(cluster, &format!("read deployment/{NAME}"), deployment, &mut checks)?;
    let revision_of = deployment.as_ref().and_then(Option::as_ref);
    let revision = revision_of.and_then(|deployment| {
        deployment.metadata.labels.as_ref().and_then(|labels| labels.get("outrigger.io/rev").cloned())
    });
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = revision.as_ref().map_or_else(|| NAME.to_owned(), |revision| format!("{NAME}-{revision}"));
    let webhook = webhooks.get_opt(&name).await;
    let webhook = allowed(cluster, &format!("read webhook configuration {name}"), webhook, &mut checks)?;
    // Where it may not be read, another finding says so.
    let bundle = certificates::bundle(cluster).await.ok();

    checks.extend(deployment.as_ref().map(|deployment| match deployment {
        None => error("OC050", format!("there is no deployment/{NAME}"), "`outrigger upgrade` puts it back"),
        Some(deployment) => available("OC050", deployment),
    }));
    if let (Some(webhook), Some(bundle)) = (&webhook, &bundle) {
        checks.extend(configuration(webhook.as_ref(), &name, bundle));
    }
    if checks.iter().all(|check| check.hint.is_none() || check.code == "OC007") {
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
    let mut pod = json!({
        "metadata": {"generateName": "outrigger-check-", "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    let hint = "`outrigger explain OC053` says what to look at";
    match create(cluster, namespace, &pod).await {
        Ok(pod) if sidecars::has_sidecar(&pod) => {
            return ok("OC053", format!("a labelled pod in {namespace} gets a sidecar (dry run)"));
        }
        Ok(_) => return error("OC053", format!("a labelled pod in {namespace} got no sidecar (dry run)"), hint),
        Err(why) => match refusal(&why) {
            Refusal::User => {
                let hint = "what depends on it is not in this report; `outrigger explain OC007` lists the rights";
                return warn("OC007", format!("you may not create pods in {namespace}, not even by a dry run"), hint);
            }
            Refusal::Injector => return error("OC053", format!("dry run in {namespace}: {}", said(&why)), hint),
            Refusal::Namespace => {}
        },
    }
    // The namespace has rules for pods: one that says what it needs, with and without a sidecar.
    let needs = json!({"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "1Mi"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": needs, "limits": needs});
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let with = create(cluster, namespace, &pod).await;
    pod["metadata"]["labels"]["outrigger.io/inject"] = "disabled".into();
    let without = create(cluster, namespace, &pod).await;
    with_rules(namespace, with, &without)
}

/// What is to be said of a namespace that has rules for pods.
fn with_rules(namespace: &str, with: kube::Result<Pod>, without: &kube::Result<Pod>) -> Check {
    let hint = "`outrigger explain OC053` says what to look at";
    match (with, without) {
        (Ok(pod), _) if sidecars::has_sidecar(&pod) => {
            ok("OC053", format!("a labelled pod in {namespace} gets a sidecar (dry run)"))
        }
        (Ok(_), _) => error("OC053", format!("a labelled pod in {namespace} got no sidecar (dry run)"), hint),
        (Err(why), Ok(_)) => {
            let hint = "see the namespace's quota, LimitRange and PodSecurity, and docs/reference/injection.md for what the sidecar needs";
            warn("OC038", format!("{namespace} takes pods, but none with a sidecar (dry run): {}", said(&why)), hint)
        }
        // Not of the mesh's making: it takes no pod at all.
        (Err(why), Err(_)) => ok(
            "OC053",
            format!("{namespace} takes no pod that could be tried, with or without a sidecar: {}", said(&why)),
        ),
    }
}

/// Who refuses a pod. What a namespace has of rules (quota, LimitRange, PodSecurity) is looked at after the injector has been asked.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    User,
    Injector,
    Namespace,
}

fn refusal(why: &kube::Error) -> Refusal {
    match why {
        kube::Error::Api(status) if status.code == 403 && status.message.contains("cannot create resource") => {
            Refusal::User
        }
        kube::Error::Api(status) if status.code == 403 && !status.message.contains("admission webhook") => {
            Refusal::Namespace
        }
        _ => Refusal::Injector,
    }
}

fn said(why: &kube::Error) -> String {
    match why {
        kube::Error::Api(status) => status.message.clone(),
        other => error_chain(other),
    }
}

async fn create(cluster: &Cluster, namespace: &str, pod: &Value) -> kube::Result<Pod> {
    let pod: Pod = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    pods.create(&PostParams { dry_run: true, field_manager: None }, &pod).await
}

const NAME: &str = "outrigger-injector";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    fn webhook(policy: &str, bundle: &str) -> MutatingWebhookConfiguration {
        let bundle = data_encoding(bundle);
        serde_json::from_value(json!({"webhooks": [{"name": "pod.inject.outrigger.io", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": policy, "clientConfig": {"caBundle": bundle}}]}))
        .unwrap()
    }

    fn data_encoding(text: &str) -> Value {
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

    fn refused(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status { code, message: message.into(), ..Default::default() }))
    }

    #[test]
    fn a_namespaces_own_rules_are_no_fault_of_the_injector() {
        let quota = "pods \"outrigger-check-x\" is forbidden: failed quota: q: must specify limits.cpu for: app";
        let user = "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\"";
        let webhook = "Internal error occurred: failed calling webhook \"pod.inject.outrigger.io\"";
        let denied = "admission webhook \"pod.inject.outrigger.io\" denied the request: no";
        assert_eq!(refusal(&refused(403, quota)), Refusal::Namespace);
        assert_eq!(refusal(&refused(403, user)), Refusal::User);
        assert_eq!(refusal(&refused(500, webhook)), Refusal::Injector);
        assert_eq!(refusal(&refused(403, denied)), Refusal::Injector);

        let neither = with_rules("shop", Err(refused(403, quota)), &Err(refused(403, quota)));
        assert_eq!((neither.code, neither.level), ("OC053", Level::Ok));
        let one = with_rules("shop", Err(refused(403, quota)), &Ok(Pod::default()));
        assert_eq!((one.code, one.level), ("OC038", Level::Warn));
        let got_none = with_rules("shop", Ok(Pod::default()), &Ok(Pod::default()));
        assert_eq!((got_none.code, got_none.level), ("OC053", Level::Error));
    }
}
