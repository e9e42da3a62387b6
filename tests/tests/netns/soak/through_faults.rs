//! The mesh under load while its parts fail one after another. Each message that fails must match a fault and a row of the table of what it
//! may cost: see `outrigger_tests::faults`.
//!
//! `OUTRIGGER_FAULTS_SECONDS` and `OUTRIGGER_FAULTS_SEED` are what `cargo xtask soak` sets.

use std::fmt::Write as _;
use std::time::Duration;

use outrigger_tests::enter;
use outrigger_tests::faults::{self, Happened, Kind, Message};

use super::lasting::{drift, growth};
use super::peers_are_missing;
use super::world::{Plan, World};

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

#[test]
fn what_fails_is_what_the_table_allows() {
    let Some(sandbox) = enter() else { return };
    if peers_are_missing() {
        return;
    }
    let length = Duration::from_secs(setting("OUTRIGGER_FAULTS_SECONDS", 180));
    let seed = setting("OUTRIGGER_FAULTS_SEED", 1);
    let plan = Plan { servers: [3, 3, 2], callers: 4, leaf_lifetime: "60s", rate: 4.0, connections: 3, length };
    let mut world = World::start(sandbox, &plan);
    eprintln!("seed {seed}, {} s", length.as_secs());
    world.pause(Duration::from_secs(3));
    let (mut happened, mut changes) = (Vec::new(), 0);
    for planned in faults::Plan::new(seed) {
        // Long enough for any of them, and for what it leaves.
        if world.begin.elapsed() + Duration::from_secs(25) > length {
            break;
        }
        happened.push(world.befall(planned, &mut changes));
    }
    let (messages, bare) = world.finish();
    let verdict = faults::judge(&messages, &happened);
    eprintln!("{}", summary(&messages, &happened, &verdict));
    let mut findings = verdict.unmatched;
    let printed = world.printed_by_apps();
    let twice = faults::worked_on_twice(printed.iter().map(String::as_str));
    findings.extend(twice.iter().map(|id| format!("{id} was worked on twice")));
    findings
        .extend(bare.iter().filter(|message| !message.is_ok()).map(|message| format!("without a mesh: {message:?}")));
    findings.extend(growth(&world.samples));
    findings.extend(drift(&messages, &bare, &happened));
    if !findings.is_empty() {
        world.keep_logs();
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

pub(crate) fn summary(messages: &[Message], happened: &[Happened], verdict: &faults::Verdict) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let all = messages.iter().filter(|message| message.kind == kind);
        let failed = all.clone().filter(|message| !message.is_ok()).count();
        let _ = writeln!(text, "{:<10} {:>7} messages, {failed} failed", kind.name(), all.count());
    }
    for (fault, failed) in &verdict.matched {
        let times = happened.iter().filter(|one| one.fault.name() == fault).count();
        let _ = writeln!(text, "{failed:>5} failed in {times} x {fault}");
    }
    text
}
