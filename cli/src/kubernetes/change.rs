//! Applies what users write, and waits until the mesh has it in force.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt as _, discovery};
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::API_VERSION;
use outrigger_console::output::{Format, Output, Stream, Style};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Cluster;
use super::programmed::{State, Verdict, verdicts};
use crate::cluster::Change;

/// Applies all, then waits for all if that is asked for.
pub(crate) async fn change(change: &Change, objects: Vec<Value>, output: &Output) -> anyhow::Result<Exit> {
    let cluster = Cluster::connect(&change.target).await?;
    let mut applied = Vec::with_capacity(objects.len());
    for object in objects {
        applied.push(apply(&cluster, change, object, output).await?);
    }
    if change.wait {
        let deadline = Instant::now() + change.target.timeout;
        loop {
            let late = Instant::now() >= deadline;
            let mut waits = false;
            for one in &mut applied {
                waits |= one.look(&cluster, late, change.format, output).await?;
            }
            if late || !waits {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    if change.format == Format::Json {
        output.json(&json!({"apiVersion": API_VERSION, "kind": "Applied", "waited": change.wait,
            "objects": applied.iter().map(Applied::json).collect::<Vec<_>>()}));
    }
    let any = |state| applied.iter().flat_map(|one| &one.verdicts).any(|(verdict, _)| verdict.state == state);
    Ok(match (any(State::Refused), any(State::Waiting)) {
        (true, _) => Exit::No,
        (false, true) => Exit::TimedOut,
        (false, false) => Exit::Yes,
    })
}

/// An object that was applied.
struct Applied {
    api: Api<DynamicObject>,
    kind: String,
    namespace: String,
    name: String,
    generation: i64,
    at: Instant,
    verdicts: Vec<(Verdict, Duration)>,
}

async fn apply(cluster: &Cluster, change: &Change, mut object: Value, output: &Output) -> anyhow::Result<Applied> {
    let (resource, called) = resource(cluster, &object).await?;
    let written = object["metadata"]["namespace"].as_str().or(change.namespace.as_deref());
    let namespace = written.unwrap_or_else(|| cluster.client.default_namespace()).to_owned();
    object["metadata"]["namespace"] = json!(namespace);
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &namespace, &resource);
    let mut params = PatchParams::apply(MANAGER);
    params.force = change.force_conflicts;
    let at = Instant::now();
    let there = api.patch(&name, &params, &Patch::Apply(&object)).await;
    let there = there.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 409 => {
            let hint = "leave those fields to whoever has set them, or take them over with --force-conflicts";
            Failure::new(format!("cannot apply {called}: {}", status.message), hint).into()
        }
        _ => cluster.failure(&format!("cannot apply {called}"), error),
    })?;
    output.line(Stream::Stderr, &format!("  applied {called}"));
    let generation = there.metadata.generation.unwrap_or_default();
    Ok(Applied { api, kind: resource.kind, namespace, name: there.name_any(), generation, at, verdicts: Vec::new() })
}

/// Finds how the cluster calls objects of this kind, and how people call this one.
async fn resource(cluster: &Cluster, object: &Value) -> anyhow::Result<(ApiResource, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind, name) = (text(&object["apiVersion"]), text(&object["kind"]), text(&object["metadata"]["name"]));
    let called = format!("{}/{name}", kind.to_lowercase());
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    match discovery::pinned_kind(&cluster.client, &GroupVersionKind::gvk(group, version, &kind)).await {
        Ok((resource, _)) => Ok((resource, called)),
        Err(kube::Error::Api(status)) if status.code != 404 => {
            Err(cluster.failure(&format!("cannot apply {called}"), kube::Error::Api(status)))
        }
        Err(error @ (kube::Error::Api(_) | kube::Error::Discovery(_))) => {
            let message =
                format!("cannot apply {called}: this cluster has no kind {kind} of {group}/{version}: {error}");
            let hint = "install the Gateway API's kinds, or the mesh's: `outrigger check` says which are missing";
            Err(Failure::new(message, hint).into())
        }
        Err(error) => Err(cluster.failure(&format!("cannot apply {called}"), error)),
    }
}

impl Applied {
    /// Looks how it stands and prints what is new; says whether it is to be waited for. `late`: nobody waits any more.
    async fn look(&mut self, cluster: &Cluster, late: bool, format: Format, output: &Output) -> anyhow::Result<bool> {
        if !self.verdicts.is_empty() && !self.waits() {
            return Ok(false);
        }
        let called = format!("{}/{}", self.kind.to_lowercase(), self.name);
        let there = self.api.get(&self.name).await;
        let there = there.map_err(|error| cluster.failure(&format!("cannot read {called}"), error))?;
        let took = self.at.elapsed();
        let mut before = std::mem::take(&mut self.verdicts).into_iter();
        for verdict in verdicts(&serde_json::to_value(there)?, self.generation) {
            // What has ended has ended, and was printed.
            let ended = before.next().filter(|(known, _)| known.state != State::Waiting);
            let is_new = ended.is_none() && (verdict.state != State::Waiting || late);
            if is_new && format == Format::Table {
                output.data(&line(output, &called, &verdict, took));
            }
            self.verdicts.push(ended.unwrap_or((verdict, took)));
        }
        Ok(self.waits())
    }

    fn waits(&self) -> bool {
        self.verdicts.iter().any(|(verdict, _)| verdict.state == State::Waiting)
    }

    fn json(&self) -> Value {
        let parents = self.verdicts.iter().map(|(verdict, took)| {
            let state = match verdict.state {
                State::InForce => "inForce",
                State::Waiting => "waiting",
                State::Refused => "refused",
            };
            json!({"parent": verdict.parent, "state": state, "reason": verdict.reason, "message": verdict.message,
                "afterMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)})
        });
        json!({"kind": self.kind, "namespace": self.namespace, "name": self.name, "generation": self.generation,
            "parents": parents.collect::<Vec<_>>()})
    }
}

fn line(output: &Output, called: &str, verdict: &Verdict, took: Duration) -> String {
    let Verdict { parent, state, reason, message } = verdict;
    let (word, style) = match state {
        State::InForce => ("in force", Style::Good),
        State::Waiting => ("not yet", Style::Warning),
        State::Refused => ("refused", Style::Bad),
    };
    let word = output.paint(Stream::Stdout, style, word);
    format!("{called} at {parent}: {word} after {:.2} s: {reason}: {message}", took.as_secs_f64())
}

/// Owns the fields that this command writes.
const MANAGER: &str = "outrigger-apply";

/// How often a status is looked at.
const LOOK: Duration = Duration::from_millis(50);
