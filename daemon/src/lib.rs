//! What every long-running binary of the project shares: logging, a metrics registry, the admin endpoints, an orderly
//! end, memory given back, and the build's version. Nothing here knows what a mesh is.

mod accept;
mod admin;
mod drain;
mod error_chain;
mod exposition;
mod listen;
pub mod logging;
mod memory;
mod metrics;
mod occasions;
mod one_request;
mod places;

pub use accept::Incoming;
pub use admin::{Admin, Listeners, Page};
pub use drain::{Drain, shutdown_signal};
pub use error_chain::error_chain;
pub use exposition::Format;
pub use listen::listen;
pub use memory::{anonymous, give_back_memory, trim};
pub use metrics::Metrics;
pub use occasions::Occasions;
pub use one_request::{serve_one, text};
pub use places::{Place, Places};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
