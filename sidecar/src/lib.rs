//! The data plane of Outrigger. A sidecar rides beside one workload, takes over its TCP traffic and carries it:
//!
//! ```text
//!            ┌──────────────── sidecar ────────────────┐            ┌──────────────── sidecar ────────────────┐
//!  app ─────▶│ listen ▸ outbound (route, retry, balance)│═mutual TLS═▶│ listen ▸ inbound (mutual TLS, identity)  │─────▶ app
//!            └───────────────▲──────────────────────────┘            └───────────────▲──────────────────────────┘
//!                            └── sync (destinations, routes, endpoints, policy), certificate ── control plane
//! ```
//!
//! `outbound.rs` and `inbound.rs` hold the two paths, each to be read top to bottom.

mod admin;
mod admission;
mod app;
mod balance;
mod body;
mod caller;
pub mod capture;
mod certificate;
mod config;
mod connect;
mod destination;
mod detect;
mod direction;
mod drains;
mod edges;
mod error;
mod flow;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod headers;
mod http;
mod inbound;
mod limits;
mod listen;
mod local;
mod orig_dst;
mod outbound;
mod overload;
mod probe;
mod random;
mod scrape;
mod stream;
mod sync;
mod tcp;
mod telemetry;
mod tls;
mod trace_context;
mod tunnel;
mod wire_form;
mod worker;
mod zone;

pub use config::Args;
use config::Command;
#[doc(hidden)]
pub use telemetry::sample_metrics;

/// Runs the sidecar's command line.
///
/// # Errors
/// When the command cannot do its work; the error says what to do.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Init(init) => {
            use std::io::Write;
            write!(std::io::stdout(), "{}", init.run()?)?;
            Ok(())
        }
        Command::Run(run) => app::run(&run),
        Command::Leave(leave) => local::leave(&leave),
        Command::Wait(wait) => local::wait(&wait),
        Command::Version => {
            use std::io::Write;
            writeln!(std::io::stdout(), "outrigger-sidecar {}", outrigger_daemon::VERSION)?;
            Ok(())
        }
    }
}
