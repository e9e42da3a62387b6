//! A control plane in this process, spoken to over real TLS and gRPC.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod folder;
#[path = "../peer/mod.rs"]
mod peer;

mod certify;
mod forgeries;
mod hostile;
mod observe;
mod progress;
mod sync;
