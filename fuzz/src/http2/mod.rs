//! HTTP/2 in both roles, held against h2 frame by frame.

pub mod client;
pub mod frame;
pub mod hpack;
mod peer;
pub mod schedule;
pub mod server;
mod tap;
