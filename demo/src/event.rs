//! What the inner process of a demo tells the outer one: JSON, one line each.

use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The mesh is being built.
    Started {
        /// How traffic reaches the sidecars.
        mode: Mode,
        /// How many workloads, each with a sidecar.
        workloads: usize,
    },
    /// One claim, proved or not.
    Step(Step),
    /// All was tried. With `--keep` the mesh goes on.
    Finished(Finished),
    /// This kind of mesh cannot be built here; another may.
    Unsupported {
        /// Why.
        reason: String,
    },
    /// The mesh could not be built.
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// How traffic reaches the sidecars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Each workload in a network namespace; the kernel redirects its TCP.
    Namespaces,
    /// Each workload on a loopback address; apps dial their sidecar's ports.
    Loopback,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// A stable name: `ca`, `identities`, `mtls`, `split`, `retries`, `route-change`, `trace`.
    pub(crate) name: String,
    /// Whether the measurement bears it out.
    pub(crate) ok: bool,
    /// One line for people.
    pub(crate) summary: String,
    /// More lines.
    pub(crate) details: Vec<String>,
    /// What was measured.
    pub(crate) values: serde_json::Value,
}

/// What a user may want to know of a mesh that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// Exports that an OTLP receiver of the host accepted.
    pub(crate) forwarded_exports: u64,
    /// The trace that was drawn.
    pub(crate) trace_id: Option<String>,
}
