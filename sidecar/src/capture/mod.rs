//! Capture: the kernel hands this workload's TCP connections to the proxy.
//!
//! One nftables table, `inet outrigger`, in the workload's own network namespace: connections it opens are redirected
//! to the outbound port, connections it receives to the inbound port. Written over netlink with our own encoder, so
//! that an image needs no `nft` binary and no C library. `outrigger-sidecar init` is the only caller that changes
//! anything; the running proxy needs no privilege and learns the original destination from the socket (`orig_dst`).
//!
//! What an app does with itself stays untouched: everything that leaves by `lo` (its loopback, and its own pod
//! address). Its own *Service* address is captured like any other; the proxy that then finds itself the endpoint
//! dials over `lo`, past the inbound capture.

mod args;
mod attributes;
mod encode;
mod error;
mod expressions;
mod filter;
mod netlink;
mod readback;
mod rules;
#[cfg(test)]
mod tests;
mod text;
mod uapi;

pub use args::{InitArgs, Outcome};
pub use error::CaptureError;
pub use filter::{Cidr, List, Mark, ParseError, PortRange};
pub use readback::{RuleCounter, Status};
pub use rules::{Exempt, Hook, Match, Rule, Ruleset, Settings, Verdict};

/// Installs `ruleset` in this network namespace in one atomic step, replacing what an earlier run left, and reads it
/// back from the kernel.
///
/// # Errors
/// When the kernel refuses (no `CAP_NET_ADMIN`, a missing module), or holds something else than was asked afterwards.
pub fn install(ruleset: &Ruleset) -> Result<(), CaptureError> {
    let mut kernel = netlink::Socket::open()?;
    kernel.commit(&encode::replacement(ruleset))?;
    readback::verify(&mut kernel, ruleset)
}

/// Removes the table from this network namespace; it is no error when there is none. Connections that are captured
/// at that moment are cut, because the kernel stops translating their addresses.
///
/// # Errors
/// As [`install`].
pub fn remove() -> Result<(), CaptureError> {
    let mut kernel = netlink::Socket::open()?;
    kernel.commit(&encode::removal())?;
    match readback::status(&mut kernel)? {
        None => Ok(()),
        Some(_) => Err(CaptureError::NotInForce { found: "the table is still there after its removal".into() }),
    }
}

/// Reads what is installed, with each rule's counters; `None` when there is no table.
///
/// # Errors
/// When the kernel refuses to answer: reading needs `CAP_NET_ADMIN` too.
pub fn status() -> Result<Option<Status>, CaptureError> {
    readback::status(&mut netlink::Socket::open()?)
}
