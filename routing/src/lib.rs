//! Routes: a request's path, method, headers and query → a rule → a weighted backend (step 7 of the request path).
//!
//! ```text
//!  model::RouteSet ─▶ RouteTable::compile ─▶ RouteTable ──find──▶ Rule ─▶ Filters ─▶ Backends::pick ─▶ Destination
//!                          │                    ▲                            redirects, rewrites, headers, CORS
//!                          ▼                    │ RequestView
//!                     CompileError         normalize (paths have one form before they are matched)
//! ```
//!
//! The sidecar compiles the routes of a service when they change, and then only reads the table. The control plane compiles each rule
//! before it sends it, so that what a sidecar would refuse is told on the object. There is no I/O here; what a backend is resolved to
//! is the caller's.

mod bucket;
mod candidate;
mod cors;
mod error;
mod filter;
mod matcher;
mod mirror;
mod path;
mod redirect;
mod request;
mod session;
mod table;
#[cfg(test)]
mod table_tests;
mod target;
mod weight;

pub use error::{CompileError, RuleName};
pub use filter::Filters;
pub use mirror::Mirror;
pub use path::{Reject, normalize, readings, unresolved};
pub use redirect::{Redirect, RequestOrigin};
pub use request::{Matched, RequestView};
pub use session::{Presented, Session};
pub use table::{Found, RouteTable, Rule};
pub use target::UriTooLong;
pub use weight::{Backends, Destination, WeightedBackend};
