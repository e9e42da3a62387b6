//! What must not grow, whatever fails: memory, descriptors, latency.

use std::collections::BTreeMap;

use outrigger_tests::faults::{Happened, Kind, Message, quantile, theil_sen};

use super::world::Sample;

/// KiB that a sidecar's memory may grow by in the last half of its life, by the slope of a line through it.
const MEMORY: f64 = 6.0 * 1024.0;

/// Descriptors that a sidecar may have more in the last quarter of its life than in the second: the middle of each.
const DESCRIPTORS: usize = 24;

/// A life that is shorter says nothing of growth.
const SHORTEST: f64 = 60.0;

/// Findings about what sidecars hold.
pub(crate) fn growth(samples: &BTreeMap<(String, u32), Vec<Sample>>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut steepest = (0.0, String::new());
    let mut judged = 0;
    for ((name, process), all) in samples {
        let (Some(first), Some(last)) = (all.first(), all.last()) else { continue };
        let life = last.0 - first.0;
        if life < SHORTEST {
            continue;
        }
        judged += 1;
        let half: Vec<_> = all.iter().filter(|sample| sample.0 > last.0 - life / 2.0).collect();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
        let points: Vec<_> = thinned(&half).map(|sample| (sample.0, sample.2 as f64)).collect();
        let slope = theil_sen(&points);
        if slope > steepest.0 {
            steepest = (slope, name.clone());
        }
        if slope * life / 2.0 > MEMORY {
            findings
                .push(format!("the memory of the sidecar of {name} ({process}) grows by {slope:.1} KiB/s: {points:?}"));
        }
        let middle = |from: f64, to: f64| {
            let within = all.iter().filter(|sample| (from..to).contains(&((sample.0 - first.0) / life)));
            let mut counts: Vec<_> = within.map(|sample| sample.1).collect();
            counts.sort_unstable();
            counts.get(counts.len() / 2).copied().unwrap_or_default()
        };
        let (before, after) = (middle(0.25, 0.5), middle(0.75, 1.0));
        if after > before + DESCRIPTORS {
            findings.push(format!("the sidecar of {name} ({process}) keeps descriptors: {before}, then {after}"));
        }
    }
    eprintln!(
        "memory and descriptors of {judged} sidecars; the steepest slope is {:.2} KiB/s ({})",
        steepest.0, steepest.1
    );
    findings
}

/// Few enough to pair all of them.
fn thinned<'s>(all: &'s [&'s Sample]) -> impl Iterator<Item = &'s Sample> {
    all.iter().step_by(1 + all.len() / 400).copied()
}

/// Findings about latency while nothing fails: how it differs between the first half and the last.
pub(crate) fn drift(messages: &[Message], bare: &[Message], happened: &[Happened]) -> Vec<String> {
    let (Some(first), Some(last)) = (messages.first(), messages.iter().map(|message| message.ended).reduce(f64::max))
    else {
        return vec!["there were no messages".to_owned()];
    };
    let middle = f64::midpoint(first.sent, last);
    let quiet = |message: &&Message| {
        !happened.iter().any(|one| message.ended > one.begin - 500.0 && message.sent < one.end + 1000.0)
    };
    let slow = |of: &[Message], second: bool| {
        let some = of
            .iter()
            .filter(|message| message.kind == Kind::Get && message.is_ok() && (message.sent > middle) == second);
        quantile(some.filter(quiet).map(|message| message.ended - message.sent).collect(), 0.99).unwrap_or_default()
    };
    let [before, after] = [false, true].map(|second| slow(messages, second));
    let [bare_before, bare_after] = [false, true].map(|second| slow(bare, second));
    eprintln!(
        "p99 of GET while nothing fails, first half and last: {before:.1} ms and {after:.1} ms; without a mesh {bare_before:.1} ms and {bare_after:.1} ms"
    );
    // A machine that became busier holds up what has no mesh as well.
    let most = 3.0 * before.max(bare_before).max(bare_after) + 50.0;
    if after > most { vec![format!("latency drifts: {before:.1} ms, then {after:.1} ms")] } else { Vec::new() }
}
