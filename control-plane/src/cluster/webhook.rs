//! The injector's serving certificate, and the `caBundle` by which the API server knows it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tracing::info;

use super::{Cluster, ClusterError, pem};
use crate::ca::Authority;

/// Makes the certificate when it is missing, ends soon, or is not of our CA.
///
/// # Errors
/// When the API server refuses, or the certificate cannot be made.
pub(super) async fn keep_certificate(
    cluster: &Cluster,
    authority: &Authority,
    now: SystemTime,
) -> Result<(), ClusterError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let failed = |what: &str, source| ClusterError::Api {
        what: format!("cannot {what} Secret {SECRET}"),
        source: Box::new(source),
    };
    let present = api.get_opt(SECRET).await.map_err(|error| failed("read", error))?;
    let names = names(&cluster.namespace);
    let bundle = authority.bundle_pem();
    if let Some(data) = present.as_ref().and_then(|secret| secret.data.as_ref())
        && let Some(chain) = data.get("tls.crt")
        && data.get("ca.crt").is_some_and(|anchors| anchors.0 == bundle.as_bytes())
        && pem::is_good(&chain.0, &names, now)
    {
        return Ok(());
    }
    let certificate = authority.issue_server(&names, LIFETIME, now)?;
    let part = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let data = BTreeMap::from([
        part("tls.crt", &certificate.chain),
        part("tls.key", &certificate.key),
        part("ca.crt", &bundle),
    ]);
    let parameters = PostParams::default();
    let written = match present {
        Some(secret) => api.replace(SECRET, &parameters, &Secret { data: Some(data), ..secret }).await,
        None => {
            let metadata =
                ObjectMeta { name: Some(SECRET.to_owned()), labels: Some(super::labels()), ..ObjectMeta::default() };
            let type_ = Some("kubernetes.io/tls".to_owned());
            api.create(&parameters, &Secret { metadata, data: Some(data), type_, ..Secret::default() }).await
        }
    };
    written.map_err(|error| failed("write", error))?;
    info!(secret = SECRET, "made a certificate for the injector");
    Ok(())
}

/// Puts our trust anchors into all webhooks of the injector that have others.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn keep_ca_bundle(cluster: &Cluster, authority: &Authority) -> Result<(), ClusterError> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let name = cluster.webhook.as_str();
    let failed = |what: &str, source| ClusterError::Api {
        what: format!("cannot {what} MutatingWebhookConfiguration {name}"),
        source: Box::new(source),
    };
    let Some(present) = api.get_opt(name).await.map_err(|error| failed("read", error))? else { return Ok(()) };
    let bundle = ByteString(authority.bundle_pem().into_bytes());
    let webhooks = present.webhooks.unwrap_or_default();
    let others = webhooks.iter().filter(|webhook| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    let changes: Vec<_> =
        others.map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": bundle } })).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let count = changes.len();
    // By name, so that whatever else is in a webhook stays as it is.
    let patch = Patch::Strategic(json!({ "webhooks": changes }));
    api.patch(name, &PatchParams::default(), &patch).await.map_err(|error| failed("change", error))?;
    info!(name, webhooks = count, "put the trust anchors into the injector's webhooks");
    Ok(())
}

fn names(namespace: &str) -> [String; 2] {
    let name = format!("outrigger-injector.{namespace}.svc");
    [name.clone(), format!("{name}.cluster.local")]
}

const SECRET: &str = "outrigger-injector-tls";

/// As an issuer's.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);
