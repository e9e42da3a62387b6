//! What the fuzz targets do: each module is a target, or what several share. `fuzz_targets/` only names them for libFuzzer.
//!
//! A target drives the product beside another implementation, or a naive one that is written here, and panics when the two differ.
//! Where the product is meant to differ, the reason is in a list beside the comparison. docs/security/fuzzing.md has the whole.

pub mod body;
#[cfg(feature = "mesh")]
pub mod detect;
pub mod http1;
pub mod http2;
#[cfg(feature = "mesh")]
pub mod objects;
#[cfg(feature = "mesh")]
pub mod path;
#[cfg(feature = "mesh")]
pub mod proof;
#[cfg(feature = "mesh")]
pub mod replay;
#[cfg(feature = "mesh")]
pub mod review;
#[cfg(feature = "mesh")]
pub mod route;
pub mod runtime;
#[cfg(feature = "mesh")]
pub mod saved;
pub mod script;
#[cfg(feature = "mesh")]
pub mod sync;
pub mod variants;
