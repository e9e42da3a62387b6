//! `AdmissionReview` (admission.k8s.io/v1): the question of the API server and the answer.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::patch::{Outcome, ProbeSecret, Settings, inject};

/// What became of a review, for metrics and the log.
#[derive(Debug)]
pub(crate) struct Decision {
    /// For the API server.
    pub(crate) response: Value,
    /// `Injected`, or why not.
    pub(crate) reason: &'static str,
    pub(crate) injected: bool,
    /// Whether a sidecar was asked for that cannot be had.
    pub(crate) surprising: bool,
    /// For people.
    pub(crate) message: String,
}

/// Answers a review; `secret` is for the pod in it alone.
///
/// # Errors
/// When it is none.
pub(crate) fn review(question: &Value, settings: &Settings, secret: &ProbeSecret) -> Result<Decision, NoReview> {
    let request = question.get("request").ok_or(NoReview("request"))?;
    let uid = request.get("uid").and_then(Value::as_str).ok_or(NoReview("request.uid"))?;
    let pod = request.get("object").filter(|object| object.is_object()).ok_or(NoReview("request.object"))?;
    let mut response = json!({"uid": uid, "allowed": true});
    let envelope =
        |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    match inject(pod, settings, secret) {
        Outcome::Injected(injected) => {
            let patch = injected.json_patch(pod).to_string();
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(BASE64.encode(patch.as_bytes()));
            let mut message = format!("pods get sidecar {}", outrigger_daemon::VERSION);
            if !injected.warnings.is_empty() {
                response["warnings"] = injected.warnings.iter().map(|warning| short(warning)).collect();
                message = format!("{message}; {}", injected.warnings.join("; "));
            }
            Ok(Decision {
                response: envelope(response),
                reason: "Injected",
                injected: true,
                surprising: false,
                message,
            })
        }
        Outcome::Skipped(skip) => {
            let surprising = skip.is_surprising();
            let message = format!("no sidecar: {skip}");
            if surprising {
                response["warnings"] = json!([short(&message)]);
            }
            Ok(Decision { response: envelope(response), reason: skip.reason(), injected: false, surprising, message })
        }
    }
}

/// The API server cuts warnings at 256 bytes, and complains about longer ones.
fn short(warning: &str) -> Value {
    let warning = format!("outrigger: {warning}");
    let end = (0..=warning.len().min(MAX_WARNING)).rev().find(|end| warning.is_char_boundary(*end)).unwrap_or(0);
    Value::from(&warning[..end])
}

/// Something else than an AdmissionReview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no AdmissionReview: {0} is missing")]
pub(crate) struct NoReview(&'static str);

const MAX_WARNING: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::MetricsFrom;

    fn settings() -> Settings {
        Settings {
            image: "sidecar:1".into(),
            pull_policy: None,
            control_plane: "control-plane:4180".into(),
            trust_domain: "mesh.local".into(),
            trust_anchors: "PEM".into(),
            otlp: None,
            metrics: MetricsFrom::default(),
        }
    }

    fn asked(pod: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
               "request": {"uid": "u-1", "operation": "CREATE", "object": pod}})
    }

    #[test]
    fn a_pod_gets_a_patch_and_its_owner_the_warnings() {
        let pod = json!({"metadata": {"annotations": {"config.outrigger.io/cpu": "1"}},
                         "spec": {"containers": [{"name": "app"}]}});

        let decision = review(&asked(pod), &settings(), &ProbeSecret::fixed("s3cret")).unwrap();

        let response = &decision.response["response"];
        assert_eq!(
            (&response["uid"], &response["allowed"], decision.reason),
            (&json!("u-1"), &json!(true), "Injected")
        );
        let patch = BASE64.decode(response["patch"].as_str().unwrap().as_bytes()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch.as_array().map(Vec::len), Some(3), "{patch:#}");
        let warning = response["warnings"][0].as_str().unwrap();
        assert!(warning.contains("config.outrigger.io/cpu") && warning.len() <= 256, "{warning}");
    }

    #[test]
    fn a_pod_that_cannot_have_one_is_allowed_and_told_why() {
        let pod = json!({"spec": {"hostNetwork": true, "containers": []}});

        let decision = review(&asked(pod), &settings(), &ProbeSecret::fixed("s3cret")).unwrap();

        assert_eq!(decision.reason, "HostNetwork");
        let response = &decision.response["response"];
        assert_eq!((&response["allowed"], response.get("patch")), (&json!(true), None));
        assert!(response["warnings"][0].as_str().unwrap().contains("hostNetwork"), "{response:#}");
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for question in [json!({}), json!({"request": {}}), json!({"request": {"uid": "u"}}), json!([1])] {
            assert!(review(&question, &settings(), &ProbeSecret::fixed("s3cret")).is_err(), "{question}");
        }
    }
}
