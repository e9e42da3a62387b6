//! Where connections and requests go: the destinations of the own workload, and its own ports.

mod port;
mod target;
mod via;

pub(crate) use port::PortPolicy;
pub(crate) use target::{Rule, Target, TargetKind};
pub(crate) use via::Via;
