//! Waiting until Deployments run what was asked for.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Output, Stream};
use tokio::time::{Duration, Instant};

use super::Cluster;

impl Cluster {
    /// Waits for these Deployments; when they do not come up in time, says what their pods lack.
    pub(super) async fn wait_for_deployments(&self, names: &[String], output: &Output) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let end = Instant::now() + self.timeout;
        for name in names {
            let mut said = String::new();
            loop {
                let deployment = deployments.get(name).await;
                let deployment =
                    deployment.map_err(|error| self.failure(&format!("cannot read deployment/{name}"), error))?;
                let (done, progress) = rollout(&deployment);
                if progress != said {
                    output.line(Stream::Stderr, &format!("  deployment/{name}: {progress}"));
                    said = progress;
                }
                if done {
                    break;
                }
                if Instant::now() >= end {
                    return Err(self.not_in_time(name, &said).await);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    async fn not_in_time(&self, name: &str, said: &str) -> anyhow::Error {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("app.kubernetes.io/name={name}");
        let pods = pods.list(&ListParams::default().labels(&selector)).await.map(|list| list.items).unwrap_or_default();
        let why: Vec<String> = pods.iter().filter_map(trouble).collect();
        let why = if why.is_empty() { String::new() } else { format!("; {}", why.join("; ")) };
        Failure {
            message: format!("deployment/{name} did not come up in {} s: {said}{why}", self.timeout.as_secs()),
            hint: Some(format!(
                "kubectl describe pods -n {} -l {selector}; `outrigger upgrade` goes on from here",
                self.namespace
            )),
            exit: Exit::TimedOut,
        }
        .into()
    }
}

/// Whether all replicas are of the newest template and available, and how far it is.
fn rollout(deployment: &Deployment) -> (bool, String) {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let seen = status.observed_generation >= deployment.metadata.generation;
    let updated = if seen { status.updated_replicas.unwrap_or(0) } else { 0 };
    let available = if seen { status.available_replicas.unwrap_or(0).min(updated) } else { 0 };
    let old = status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0);
    (seen && available >= wanted && old == 0, format!("{available} of {wanted} available"))
}

/// Why a pod is not ready, in the words of the kubelet or the scheduler.
pub(super) fn trouble(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let message = waiting.message.as_deref().unwrap_or_default();
        Some(format!("{} {message}", waiting.reason.as_deref().unwrap_or_default()).trim_end().to_owned())
    });
    let unscheduled = status.conditions.iter().flatten().find_map(|condition| {
        (condition.type_ == "PodScheduled" && condition.status == "False")
            .then(|| format!("not scheduled: {}", condition.message.as_deref().unwrap_or_default()))
    });
    let unready = status.conditions.iter().flatten().find_map(|condition| {
        (condition.type_ == "ContainersReady" && condition.status == "False")
            .then(|| format!("not ready: {}", condition.message.as_deref().unwrap_or_default()))
    });
    waiting.or(unscheduled).or(unready).map(|why| format!("{name}: {why}"))
}

const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(status: &serde_json::Value) -> Deployment {
        let deployment = json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status});
        serde_json::from_value(deployment).unwrap()
    }

    #[test]
    fn a_rollout_is_done_when_only_new_pods_are_there_and_available() {
        for (status, done) in [
            (json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), true),
            (json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}), false),
            (json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), false),
            (json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), false),
            (json!({}), false),
        ] {
            assert_eq!(rollout(&deployment(&status)).0, done, "{status}");
        }
    }

    #[test]
    fn says_why_a_pod_does_not_start() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [{
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
        }]}}))
        .unwrap();
        assert_eq!(trouble(&pod).as_deref(), Some("p: ErrImagePull no such image"));
    }
}
