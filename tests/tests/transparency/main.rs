//! Meshed equals unmeshed: each row is a server, a client and what each of them saw. It runs without a mesh, then with a
//! sidecar on both sides or on one, and fails when anything differs that `differences.rs` does not name.
//!
//! `OUTRIGGER_ROW=text` plays only the scenes whose name has the text.

#![expect(clippy::unwrap_used, reason = "a test ends where something it needs is missing")]

mod differences;
mod message;
mod page;
mod peer;
mod rows;
mod ways;
