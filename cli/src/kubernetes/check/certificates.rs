//! The trust bundle and the issuer.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use x509_parser::pem::Pem;

use super::allowed;
use crate::check::finding::{Category, Check, error, ok, warn};
use crate::check::judge::hours;
use crate::kubernetes::Cluster;

/// Reads the bundle that every pod trusts, and the issuer if this user may.
pub(super) async fn look(cluster: &Cluster) -> anyhow::Result<Category> {
    let mut checks = Vec::new();
    let pem = allowed(cluster, &format!("read configmap/{BUNDLE}"), bundle(cluster).await, &mut checks)?;
    let Some(pem) = pem else { return Ok(Category::new("certificates", checks)) };
    let roots = lifetimes(pem.as_bytes());
    checks.push(trust_bundle(&roots, now()));
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    // Not everybody may read Secrets; the control plane's own metrics tell the same.
    if let Ok(Some(secret)) = secrets.get_opt(CA).await {
        let issuer = secret.data.and_then(|mut data| ISSUER.iter().find_map(|key| data.remove(*key)));
        checks.extend(issuer.and_then(|pem| issuer_of(lifetimes(&pem.0), &roots, now())));
    }
    Ok(Category::new("certificates", checks))
}

/// The mesh's root certificates, PEM; nothing when there are none.
pub(super) async fn bundle(cluster: &Cluster) -> kube::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let bundle = maps.get_opt(BUNDLE).await?.and_then(|bundle| bundle.data);
    Ok(bundle.and_then(|mut data| data.remove("root.pem")).unwrap_or_default())
}

/// Certificates, DER.
pub(super) type Roots = BTreeSet<Vec<u8>>;

/// The mesh's root certificates.
pub(super) async fn roots(cluster: &Cluster) -> kube::Result<Roots> {
    Ok(certificates(bundle(cluster).await?.as_bytes()))
}

/// All certificates in a PEM text.
pub(super) fn certificates(pem: &[u8]) -> Roots {
    Pem::iter_from_buffer(pem).filter_map(Result::ok).map(|pem| pem.contents).collect()
}

fn trust_bundle(roots: &[Lifetime], now: i64) -> Check {
    let hint = "replace the root: docs/tasks/operations.md has the steps";
    let Some(last) = roots.iter().max_by_key(|root| root.not_after) else {
        return error("OC040", format!("configmap/{BUNDLE} has no root certificate"), hint);
    };
    let message = format!("{} trusted, valid for another {}", roots_in_words(roots.len()), last.left(now));
    match last.state(now) {
        // Nothing replaces a root but an administrator, who needs some time.
        State::Fresh if last.not_after - now < ROOT_NOTICE => warn("OC040", message, hint),
        State::Fresh => ok("OC040", message),
        State::Old => warn("OC040", message, hint),
        State::Over => error("OC040", "every root certificate has expired", hint),
    }
}

fn issuer_of(chain: Vec<Lifetime>, roots: &[Lifetime], now: i64) -> Option<Check> {
    let mut issuer = chain.into_iter().next()?;
    if let Some(last) = roots.iter().map(|root| root.not_after).max().filter(|last| *last < issuer.not_after) {
        // Whatever it says of itself, what it signs is valid no longer than the root.
        issuer.not_after = last;
    }
    let hint = format!("read the log of the control plane that holds lease/{LEASE}: it rotates the issuer");
    let message = format!("issuer valid for another {}", issuer.left(now));
    Some(match issuer.state(now) {
        State::Fresh => ok("OC041", message),
        State::Old => warn("OC041", message, hint),
        State::Over => error("OC041", "the issuer has expired", hint),
    })
}

fn roots_in_words(count: usize) -> String {
    if count == 1 { "1 root is".to_owned() } else { format!("{count} roots are") }
}

/// When a certificate is valid.
struct Lifetime {
    not_before: i64,
    not_after: i64,
}

enum State {
    Fresh,
    /// Most of its life is over, and something should have replaced it.
    Old,
    Over,
}

impl Lifetime {
    fn state(&self, now: i64) -> State {
        let (left, whole) = (self.not_after - now, self.not_after - self.not_before);
        match left {
            left if left <= 0 => State::Over,
            // Rotation is due earlier; a fifth says that it failed for long.
            left if left * 5 < whole => State::Old,
            _ => State::Fresh,
        }
    }

    fn left(&self, now: i64) -> String {
        let seconds = u64::try_from(self.not_after - now).unwrap_or(0);
        let days = seconds / (24 * 60 * 60);
        if days >= 2 { format!("{days} d") } else { hours(seconds) }
    }
}

/// Of all certificates in a PEM text; what is not a certificate is not one.
fn lifetimes(pem: &[u8]) -> Vec<Lifetime> {
    let lifetime = |pem: Pem| {
        let validity = pem.parse_x509().ok()?.validity().clone();
        Some(Lifetime { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    };
    Pem::iter_from_buffer(pem).filter_map(Result::ok).filter_map(lifetime).collect()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// 30 days, in seconds.
const ROOT_NOTICE: i64 = 30 * 24 * 60 * 60;
const BUNDLE: &str = "outrigger-trust-bundle";
const CA: &str = "outrigger-ca";
/// A certificate of the issuer: our own, or one of cert-manager's.
const ISSUER: &[&str] = &["issuer.pem", "tls.crt"];
const LEASE: &str = "outrigger-issuer";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_bundle_without_certificates_is_an_error() {
        assert_eq!(trust_bundle(&[], 0).level, Level::Error);
        assert_eq!(lifetimes(b"-----BEGIN NOTHING-----\n-----END NOTHING-----\n").len(), 0);
    }

    fn valid(days: i64) -> Lifetime {
        Lifetime { not_before: 0, not_after: days * DAY }
    }

    #[test]
    fn a_root_that_ends_within_a_month_is_a_warning_and_bounds_its_issuer() {
        assert_eq!(trust_bundle(&[valid(1)], 0).level, Level::Warn);
        assert_eq!(trust_bundle(&[valid(1), valid(3650)], 0).level, Level::Ok);

        let under = |root: i64, at: i64| issuer_of(vec![valid(90)], &[valid(root)], at).unwrap();
        assert_eq!(under(3650, 0).level, Level::Ok);
        assert!(under(1, 0).message.contains("24 h"), "{}", under(1, 0).message);
        assert_eq!(under(1, DAY).level, Level::Error);
    }

    #[test]
    fn a_certificate_grows_old_and_ends() {
        let certificate = Lifetime { not_before: 0, not_after: 100 * DAY };
        assert!(matches!(certificate.state(79 * DAY), State::Fresh));
        assert!(matches!(certificate.state(81 * DAY), State::Old));
        assert!(matches!(certificate.state(100 * DAY), State::Over));
        assert_eq!(certificate.left(41 * DAY), "59 d");
        assert_eq!(certificate.left(99 * DAY), "24 h");
    }
}
