//! The control plane: issues certificates and serves configuration to sidecars.
//!
//! ```text
//! source::files ─Event─▶ writer: State ─▶ Snapshot ─watch─▶ serve::sync ─▶ one stream per sidecar
//! (later: kube)                              │  ▲
//!                                   resource(&Snapshot, &Key), closure(&Snapshot, &Key): pure
//!
//! ca: root ▸ issuer ▸ leaves, join tokens ─────────────────▶ serve::certify
//! ```
//! Nothing but a source knows where objects come from; nothing that a sidecar gets depends on which sidecar asks.

mod app;
pub mod ca;
mod config;
#[cfg(test)]
mod fixture;
pub mod objects;
pub mod pages;
pub mod resource;
mod serve;
pub mod snapshot;
pub mod source;
pub mod state;
mod writer;

pub use app::{Running, StartError, run, start};
pub use config::{Args, Command, Config, RunArgs, TokenArgs};
