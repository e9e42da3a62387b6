//! `outrigger demo`: the whole idea on one machine, each claim measured before it is printed.
//!
//! ```text
//! outer (host's namespaces)             inside (a sandbox, or the host when namespaces are forbidden)
//! folder, Ctrl-C, printing    ◀─events─ control plane, six sidecars, six apps, span collector, the proofs
//! host's OTLP 127.0.0.1:4317  ◀─socket─ every export, unchanged
//! 127.0.0.1:PORT (--keep)     ─socket─▶ the frontend, by way of the load's sidecar
//! outrigger check, run        ─socket─▶ admin pages, new workloads
//! ```
//! It starts the binary that it is linked into anew: as `demo-inside` ([`inside`]), `demo-app` ([`apps`]), `sidecar` and
//! `control-plane`.

pub mod apps;
pub mod ask;
mod event;
mod folder;
pub mod inside;
pub mod outer;
pub mod relay;
mod report;

pub use event::Mode;

/// Lets this process end with its parent, if it was started so. On the main thread, before anything else.
///
/// The demo's processes on loopback have no pid namespace that would end them with it.
pub fn die_with_parent_if_asked() {
    if std::env::var_os(DIE_WITH_PARENT).is_some() {
        // Refused by no kernel; without it the process would only outlive a demo that was killed.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
    }
}

/// Set for processes that must not outlive their parent.
const DIE_WITH_PARENT: &str = "OUTRIGGER_DIE_WITH_PARENT";
