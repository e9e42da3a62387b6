//! The control plane: issues certificates and serves configuration to sidecars.
//!
//! ```text
//! source::files ──────┬Event─▶ writer: State ─▶ Snapshot ─watch─▶ serve::sync ─▶ one stream per sidecar
//! source::kubernetes ─┘                            │  ▲
//!                                   resource(&Published, &Key), closure(&Published, &Key): pure
//!
//! ca: root ▸ issuer ▸ leaves ──────────────────────────────▶ serve::certify ◀─ proof: join token or ServiceAccount
//! cluster: the CA's Secret, Lease, trust bundle, the injector's certificate
//! ```
//! Nothing but a source knows where objects come from; nothing that a sidecar gets depends on which sidecar asks.

mod app;
pub mod ca;
#[cfg(feature = "kubernetes")]
mod cluster;
mod config;
#[cfg(test)]
mod fixture;
pub mod latest;
pub mod objects;
mod observed;
pub mod pages;
pub mod resource;
mod serve;
pub mod snapshot;
pub mod source;
pub mod state;
#[cfg(feature = "kubernetes")]
mod why;
mod writer;

pub use app::{Running, StartError, run, start};
#[cfg(feature = "kubernetes")]
pub use cluster::ClusterError;
/// Returns a page of all metrics, in OpenMetrics: for the reference.
#[doc(hidden)]
#[must_use]
pub fn sample_metrics() -> String {
    serve::Metrics::sample()
}

pub use config::{Args, Command, Config, RunArgs, Source, TokenArgs};
