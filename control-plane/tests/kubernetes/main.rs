//! A control plane in this process that reads a real API server, spoken to over real TLS and gRPC.
//!
//! Set OUTRIGGER_TEST_KUBECONFIG to the kubeconfig of a cluster where namespaces may be made: `cargo xtask cluster up`
//! gives one. An API server alone is enough: every object that a controller would make is made by the tests.

#![cfg(feature = "kubernetes")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
#[path = "../peer/mod.rs"]
#[expect(dead_code, reason = "the tests without a cluster use more of it")]
mod peer;
mod plane;
mod proxy;

mod ca;
mod certify;
mod discovery;
mod outage;
mod status;
