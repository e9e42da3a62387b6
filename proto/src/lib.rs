//! The wire between a sidecar and the control plane.
//!
//! [`wire`] holds the generated messages and the gRPC client. [`model`] holds the same facts after
//! validation: what the rest of the code works with. [`ErrorCode`] is the table of errors that the mesh answers with.
//! There is no logic here beyond turning one form into the other.

mod codec;
mod error_code;
mod grpc_status;
mod key;
pub mod model;

pub use codec::Codec;
pub use error_code::{ErrorCode, ErrorInfo};
pub use grpc_status::grpc_status_name;
pub use key::{Key, KeyError, ServicePort, WorkloadName};

/// Generated from `proto/outrigger/mesh/v1/mesh.proto` by `cargo xtask gen`.
#[allow(warnings, clippy::all, clippy::pedantic, reason = "generated code")]
pub mod wire {
    include!("generated/outrigger.mesh.v1.rs");
}

/// The longest encoded `Update`, in bytes.
pub const MAX_UPDATE_BYTES: usize = 256 * 1024;
