//! `outrigger demo`: the whole idea on one machine, each claim measured before it is printed.
//!
//! ```text
//! outer (host's namespaces)             inside (a sandbox, or the host when namespaces are forbidden)
//! folder, Ctrl-C, printing    ◀─events─ control plane, six sidecars, six apps, span collector, the proofs
//! host's OTLP 127.0.0.1:4317  ◀─socket─ every export, unchanged
//! 127.0.0.1:PORT (--keep)     ─socket─▶ the frontend, by way of the load's sidecar
//! outrigger check, run        ─socket─▶ admin pages, new workloads
//! ```

pub(crate) mod apps;
pub(crate) mod ask;
mod event;
mod folder;
pub(crate) mod inside;
pub(crate) mod outer;
pub(crate) mod relay;
mod report;
