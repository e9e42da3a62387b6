//! The configuration path in the sidecar: a stream from the control plane, the store that the request path reads, and
//! the last good state on disk.

mod catalog;
mod client;
mod dial;
mod report;
mod saved;
mod store;

#[cfg(feature = "fuzzing")]
pub(crate) use catalog::Catalog;
pub(crate) use client::{Client, SyncStatus};
pub(crate) use dial::ControlPlane;
pub(crate) use saved::StateDir;
pub(crate) use store::Store;
