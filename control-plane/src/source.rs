//! Where objects come from. A source sends batches of [`Event`](crate::state::Event)s, and nothing else in the crate
//! knows what it reads: [`files`] watches a folder, `kubernetes` an API server.

pub mod files;
#[cfg(feature = "kubernetes")]
pub(crate) mod kubernetes;
