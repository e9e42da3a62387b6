//! Editing the YAML, and how long it takes to be in force.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Proof, split};
use crate::folder::SPLIT_FILE;
use crate::inside::mesh::Mesh;

/// Turns the weights around, waits until every sidecar acked it, and counts again.
pub(super) async fn prove(mesh: &Mesh) -> anyhow::Result<Proof> {
    let path = mesh.control_plane.paths().config().join(SPLIT_FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let edited = edit(&text)?;
    let before = snapshot(mesh).await?;

    let written = Instant::now();
    // As an editor saves: the file is whole at any moment.
    let draft = path.with_extension("draft");
    fs::write(&draft, edited).and_then(|()| fs::rename(&draft, &path)).context("save the edited route")?;
    let acked = acks(mesh, before, written).await?;

    let window = split::count(mesh, ENOUGH, 0).await?;
    let split = split::shares(&window, AFTER);
    let slowest = acked.values().max().copied().unwrap_or(0);
    let all = acked.len() == mesh.members.len();
    Ok(Proof {
        ok: split.ok && all,
        summary: format!(
            "weights edited in {SPLIT_FILE}: in force in {} of {} sidecars after {slowest} ms",
            acked.len(),
            mesh.members.len()
        ),
        details: vec![split.summary],
        values: json!({"ackedMs": acked, "slowestMs": slowest, "sidecars": mesh.members.len(), "split": split.values}),
    })
}

/// When each sidecar had taken everything of a snapshot newer than `before`, in milliseconds since the edit.
async fn acks(mesh: &Mesh, before: u64, written: Instant) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut acked = BTreeMap::new();
    while acked.len() < mesh.members.len() && written.elapsed() < PATIENCE {
        let page = mesh.control_plane.page("/sidecars").await?;
        let elapsed = u64::try_from(written.elapsed().as_millis()).unwrap_or(u64::MAX);
        for sidecar in page["sidecars"].as_array().into_iter().flatten() {
            let newer = sidecar["ackedSnapshot"].as_u64().is_some_and(|acked| acked > before);
            if let (true, Some(workload)) = (newer, sidecar["workload"].as_str()) {
                acked.entry(workload.to_owned()).or_insert(elapsed);
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(acked)
}

async fn snapshot(mesh: &Mesh) -> anyhow::Result<u64> {
    let page: Value = mesh.control_plane.page("/config").await?;
    page["snapshot"].as_u64().with_context(|| format!("no snapshot in the control plane's /config: {page}"))
}

fn edit(text: &str) -> anyhow::Result<String> {
    let weights = |(v1, v2): (u32, u32)| {
        [("catalog-v1", v1), ("catalog-v2", v2)]
            .map(|(name, weight)| format!("name: {name}, port: 80, weight: {weight}}}"))
    };
    let [old_v1, old_v2] = weights(split::BEFORE);
    let [new_v1, new_v2] = weights(AFTER);
    anyhow::ensure!(
        text.contains(&old_v1) && text.contains(&old_v2),
        "{SPLIT_FILE} does not have the weights of the demo"
    );
    Ok(text.replace(&old_v1, &new_v1).replace(&old_v2, &new_v2))
}

/// What the edit asks for.
const AFTER: (u32, u32) = (10, 90);
const ENOUGH: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::EXAMPLES;

    #[test]
    fn the_edit_turns_the_weights_of_the_example_around() {
        let (_, text) = EXAMPLES.iter().find(|(name, _)| *name == SPLIT_FILE).unwrap();

        let edited = edit(text).unwrap();

        assert!(edited.contains("{name: catalog-v1, port: 80, weight: 10}"), "{edited}");
        assert!(edited.contains("{name: catalog-v2, port: 80, weight: 90}"), "{edited}");
        assert!(edit(&edited).is_err());
    }
}
