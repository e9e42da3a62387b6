//! HTTP/1.1 (RFC 9112) as a proxy needs it: a head is parsed where it was read, its fields are slices of it, and what comes in is handed
//! on in the same turn of the same task: no task, no channel and no buffer stands between the two connections of a request.
//!
//! ```text
//!  client ─▶ read ▸ head ▸ body ─▶ serve ─▶ (routes, policy, … and the choice of a connection) ─▶ Connection ▸ write ─▶ server
//! ```
//!
//! What is ambiguous is refused or made plain (RFC 9112 section 11.2): a message leaves with one framing, whatever it came with.

mod body;
mod client;
mod connection;
mod decode;
mod error;
mod framing;
mod head;
mod limit;
mod read;
mod serve;
mod write;
mod written;

#[cfg(test)]
mod farewell_tests;
#[cfg(test)]
mod smuggling_tests;
#[cfg(test)]
mod tests;

pub use body::Incoming;
pub use client::Connection;
pub use error::Error;
pub use head::{RawTarget, Reason};
pub use serve::{Options, Refusal, Served, serve, serve_until};
pub use write::may_be_trailer;

/// The longest head of a request or response, bytes.
pub const MAX_HEAD: usize = 256 * 1024;

/// The most that trailers, or responses that only inform, may take, bytes.
const MAX_ASIDE: usize = 64 * 1024;

/// As many fields as a usual head has: for them a place on the stack is ready.
const USUAL_FIELDS: usize = 100;
