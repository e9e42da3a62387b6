//! Programs that nobody here wrote, for the end-to-end tests to run against: a gRPC and a WebSocket implementation in
//! Go, h2spec, a real Jaeger, a real Prometheus, SMTP, Redis, MariaDB and PostgreSQL servers with their own clients.
//!
//! Every function here returns a [`Command`], ready to be started in whatever network namespace the test wants; the
//! caller owns the process, waits for its port, and ends it. `tests/peers/README.md` says what each program is for.

mod build;
pub mod calls;
pub mod faults;
pub mod gateway_api;
pub mod grpc;
pub mod h2spec;
pub mod helm;
pub mod jaeger;
pub mod mariadb;
pub mod origin;
pub mod postgres;
mod program;
pub mod prometheus;
pub mod redis;
pub mod smtp;
pub mod soak;
pub mod test_app;
#[cfg(test)]
mod tests;
pub mod transparency;
pub mod websocket;

use std::io;
use std::path::PathBuf;
use std::process::Command;

/// Why a peer cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// A program is not installed.
    #[error("`{program}` is not installed: {install}")]
    Missing {
        /// The program.
        program: &'static str,
        /// How to get it.
        install: &'static str,
    },
    /// A program failed that was to prepare or to build the peer.
    #[error("{step} failed:\n{output}")]
    Failed {
        /// What it was doing.
        step: String,
        /// The end of what it said.
        output: String,
    },
    /// A file or a process could not be made.
    #[error("{step}")]
    Io {
        /// What was being done.
        step: String,
        /// What the system answered.
        source: io::Error,
    },
}

/// Builds every peer that has to be built, so that no test pays for it in the middle: minutes the first time, nothing
/// afterwards.
///
/// # Errors
/// Names what is missing or what does not build.
pub fn build_all() -> Result<Vec<PathBuf>, PeerError> {
    build::ALL.iter().map(|program| program.path()).collect()
}

/// Runs a command to its end and returns what it wrote to stdout.
fn finish(step: &str, command: &mut Command) -> Result<String, PeerError> {
    let output = command.output().map_err(|source| PeerError::Io { step: step.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    Err(PeerError::Failed { step: step.to_owned(), output: format!("{last}\n({})", output.status) })
}

/// Writes a peer's configuration.
fn write(path: &std::path::Path, text: &str) -> Result<(), PeerError> {
    std::fs::write(path, text).map_err(|source| PeerError::Io { step: path.display().to_string(), source })
}

/// Enough of a failed build to see why.
const LINES_SHOWN: usize = 40;
