//! A control plane in this process, spoken to over real TLS and gRPC.

mod client;
mod folder;

mod certify;
mod sync;
