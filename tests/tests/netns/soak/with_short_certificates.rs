//! Certificates that live for ten seconds, under load on connections that last: no message fails, and no connection ends.

use std::time::Duration;

use outrigger_tests::enter;
use outrigger_tests::faults::judge;

use super::through_faults::{setting, summary};
use super::world::{Plan, World};
use super::{lasting, peers_are_missing};

#[test]
fn no_message_fails_and_no_connection_ends() {
    let Some(sandbox) = enter() else { return };
    if peers_are_missing() {
        return;
    }
    let length = Duration::from_secs(setting("OUTRIGGER_FAULTS_SECONDS", 60));
    // Twenty connections of bytes, and half as many WebSockets and streams.
    let plan = Plan { servers: [1, 1, 1], callers: 2, leaf_lifetime: "10s", rate: 10.0, connections: 10, length };
    let mut world = World::start(sandbox, &plan);
    let (messages, bare) = world.finish();
    eprintln!("{}", summary(&messages, &[], &judge(&messages, &[])));
    let mut findings = judge(&messages, &[]).unmatched;
    for (name, ended) in world.connections_ended() {
        if ended > 0 {
            findings.push(format!("{ended} connections of HTTP of {name} were ended"));
        }
    }
    findings.extend(lasting::drift(&messages, &bare, &[]));
    // Renewals are near half of a life; what a busy machine delays is late, not missing.
    let least = usize::try_from(length.as_secs() / 10).unwrap();
    for (name, renewals) in world.certificates() {
        eprintln!("{name}: {renewals} certificates");
        assert!(renewals > least, "{name} had {renewals} certificates only: the test has shown little");
    }
    if !findings.is_empty() {
        world.keep_logs();
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}
