//! Policies for a Service, as users apply them: what the API server refuses, what becomes of the rest, and that it counts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use outrigger_tests::cluster::{Space, Workload};
use outrigger_tests::peers::gateway_api;
use serde_json::Value;

fn policy(name: &str, target: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{targetRefs: [{{group: '', kind: Service, {target}}}], {spec}}}\n"
    )
}

/// Waits until the status of a policy has this reason; returns its message.
fn told(space: &Space, kind: &str, name: &str, reason: &str) -> String {
    space.eventually(&format!("{name} is {reason}"), || {
        let policy = space.json(["get", kind, name]);
        let ancestor = policy["status"]["ancestors"][0].clone();
        let condition = ancestor["conditions"][0].clone();
        let current = condition["observedGeneration"] == policy["metadata"]["generation"];
        let ours = ancestor["controllerName"] == "outrigger.io/mesh" && condition["type"] == "Accepted";
        (ours && current && condition["reason"] == reason)
            .then(|| condition["message"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_policy_counts_and_its_status_says_what_became_of_it() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web").replicas(3), Workload::new("client")]);
    let pods = || -> BTreeSet<String> {
        let pod = |_| space.seen("deployment/client", "http://web/")["pod"].as_str().unwrap().to_owned();
        (0..12).map(pod).collect()
    };
    assert!(pods().len() > 1, "without a policy several answer");

    let hash = "loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}";
    space.apply(&policy("web", "name: web", hash));
    assert_eq!(told(&space, "trafficpolicy", "web", "Accepted"), "");
    space.eventually("one pod has all requests of this client", || (pods().len() == 1).then_some(()));
    let listed = space.text(["get", "otp"]);
    let words: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..4], ["web", "web", "True", "Accepted"], "{listed}");

    space.apply(&policy("young", "name: web", "limits: {maxRequests: 5}"));
    let message = told(&space, "trafficpolicy", "young", "Conflicted");
    assert_eq!(message, format!("TrafficPolicy {}/web is older", space.name()));
    space.apply(&policy("lost", "name: web, sectionName: nowhere", "limits: {maxRequests: 5}"));
    assert!(told(&space, "trafficpolicy", "lost", "TargetNotFound").ends_with("has no port nowhere"));

    // The other one's turn comes when the first goes.
    let _deleted = space.text(["delete", "trafficpolicy", "web"]);
    assert_eq!(told(&space, "trafficpolicy", "young", "Accepted"), "");
    space.eventually("several answer again", || (pods().len() > 1).then_some(()));

    let fault = "faultInjection: {abort: {httpStatus: 418}}";
    space.apply(&policy("young", "name: web", fault));
    space.eventually("the fault is made", || {
        (space.get("deployment/client", "http://web/")["status"] == 418).then_some(())
    });
    assert!(space.metric("deployment/client", "outrigger_outbound_faults_total", &["fault=\"abort\""]) >= 1.0);
}

#[test]
fn the_api_server_refuses_what_makes_no_sense_and_explains_the_rest() {
    let Some(space) = Space::meshed() else { return };
    for (spec, why) in [
        ("limits: {maxRequests: 0}", "should be greater than or equal to 1"),
        ("limits: {maxPendingRequests: 1}", "maxPendingRequests needs maxConnections"),
        ("limits: {maxConections: 1}", "unknown field \"spec.limits.maxConections\""),
        ("loadBalancer: {type: ConsistentHash}", "consistentHash must be set when type is ConsistentHash"),
        (
            "loadBalancer: {type: ConsistentHash, consistentHash: {type: Cookie, header: {name: a}}}",
            "cookie must be set when type is Cookie",
        ),
        ("ejection: {baseEjectionTime: 2m}", "maxEjectionTime must not be shorter than baseEjectionTime"),
        ("ejection: {baseEjectionTime: 1d}", "should match"),
        ("retryBudget: {interval: 2h}", "must be from 1s to 1h"),
        ("faultInjection: {}", "must have delay, abort, or both"),
        ("faultInjection: {abort: {httpStatus: 503, grpcStatus: 14}}", "must have httpStatus or grpcStatus"),
        ("faultInjection: {delay: {fixedDelay: 0s}}", "must be from 1ms to 1h"),
    ] {
        let manifest = policy("refused", "name: web", spec)
            .replace("name: refused", &format!("name: refused, namespace: {}", space.name()));
        let output = space.cluster().applied(&manifest);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{spec}: {said}");
    }
    let explained = space.text(["explain", "trafficpolicy.spec.limits.maxConnections"]);
    assert!(explained.contains("Connections to each endpoint"), "{explained}");
}

#[test]
fn the_experimental_retry_budget_is_found_when_it_is_installed_later() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);
    let kind = Experimental::install(&space);
    space.apply(
        "---\napiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\nmetadata: {name: web}\n\
         spec: {targetRefs: [{group: '', kind: Service, name: web}], retryConstraint: {budget: {percent: 5}}}\n",
    );

    assert_eq!(told(&space, "xbackendtrafficpolicy", "web", "Accepted"), "");
    space.apply(&policy("web", "name: web", "retryBudget: {percent: 10}"));
    let message = told(&space, "xbackendtrafficpolicy", "web", "Conflicted");
    assert_eq!(message, format!("TrafficPolicy {}/web sets a retry budget", space.name()));
    drop(kind);
}

/// The kind of the experimental channel; it goes again.
struct Experimental<'s> {
    space: &'s Space,
    file: PathBuf,
}

impl<'s> Experimental<'s> {
    fn install(space: &'s Space) -> Self {
        let standard = gateway_api::standard_channel().unwrap();
        let file = standard.join("../experimental/gateway.networking.x-k8s.io_xbackendtrafficpolicies.yaml");
        let _applied = space.text(["apply", "-f", file.to_str().unwrap()]);
        space.eventually("the kind is served", || {
            let name = "crd/xbackendtrafficpolicies.gateway.networking.x-k8s.io";
            let conditions = space.json(["get", name])["status"]["conditions"].clone();
            let established = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
            conditions.as_array()?.iter().any(established).then_some(())
        });
        Self { space, file }
    }
}

impl Drop for Experimental<'_> {
    fn drop(&mut self) {
        let _ =
            self.space.kubectl(["delete", "--ignore-not-found", "-f", self.file.to_str().unwrap_or_default()]).output();
    }
}
