//! Updates of the control plane: whatever comes, each resource is taken or refused, what is held can be sent again, and the same
//! resources give the same configuration whether they come at once or one by one.

use outrigger_proto::{Key, wire};
use outrigger_sidecar::fuzzing::Configuration;
use prost::Message as _;

use crate::runtime;

/// Runs the target.
///
/// # Panics
/// When a resource is lost, or means something else the second time.
pub fn run(data: &[u8]) {
    let Ok(update) = wire::Update::decode(data) else { return };
    assert_eq!(wire::Update::decode(&*update.encode_to_vec()).as_ref(), Ok(&update), "encoded and decoded");
    for resource in &update.resources {
        if let Ok(key) = resource.key.parse::<Key>() {
            assert_eq!(key.to_string().parse().as_ref(), Ok(&key), "a key's text");
        }
    }
    let done = runtime::run(async { apply(update) });
    assert!(done.is_some(), "it waits");
}

fn apply(update: wire::Update) {
    let wire::Update { resources, removed, .. } = update;
    let mut configuration = Configuration::new();
    let count = resources.len();
    let (taken, refused) = configuration.apply(resources, &removed);
    assert_eq!(taken + refused, count, "a resource is neither taken nor refused");
    let held = configuration.resources();
    assert!(held.len() <= taken, "more is held than was taken");
    restored(&held);
    let all: Vec<String> = held.iter().map(|resource| resource.key.clone()).collect();
    configuration.apply(Vec::new(), &all);
    assert!(configuration.resources().is_empty(), "what is removed is held");
}

/// What is held is taken again, by a sidecar that has just started, at once or one by one, backwards.
pub(crate) fn restored(held: &[wire::Resource]) {
    let mut again = Configuration::new();
    assert_eq!(again.apply(held.to_vec(), &[]), (held.len(), 0), "what was held is refused");
    assert_eq!(again.resources(), held);
    let mut singly = Configuration::new();
    for resource in held.iter().rev() {
        assert_eq!(singly.apply(vec![resource.clone()], &[]), (1, 0), "what was held is refused alone");
    }
    assert_eq!(singly.resources(), held);
}
