//! Tests that change the mesh itself. Each has the cluster to itself, so `cargo xtask test` runs them one by one, after the others.

mod availability;
mod docs;
mod gateway;
mod lifecycle;
mod operations;
mod status;
