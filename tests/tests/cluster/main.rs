//! The mesh in a real Kubernetes cluster, used as its users use it. Each test has a namespace of its own; those that change
//! the mesh itself have the cluster to themselves, and are in `alone`.

#![expect(clippy::unwrap_used, reason = "a test ends where something it needs is missing")]

mod alone;
mod autoscaling;
mod charts;
mod harmless;
mod injection;
mod network;
mod policy;
mod probes;
mod services;
mod shapes;
mod stateful;
mod status;
mod tracing;
mod traffic;
mod workloads;
