//! Gives pods their sidecar.
//!
//! ```text
//! API server ─▶ serve (TLS, HTTP, body) ─▶ review (AdmissionReview) ─▶ patch (pure: pod + settings → pod with a sidecar)
//! ```
//! [`inject`] is the whole decision; the webhook and `outrigger inject` both call it. It looks at nothing but the pod: which
//! pods get here is decided by the webhook's selectors.

mod api;
mod app;
mod body;
mod certificate;
mod config;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod patch;
mod review;
mod serve;

pub use app::run;
pub use config::Args;
pub use patch::{ANNOTATIONS, Injected, MetricsFrom, Outcome, ProbeSecret, Settings, Skip, inject};
#[doc(hidden)]
pub use serve::sample_metrics;
