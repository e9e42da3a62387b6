//! A workload and its callers, for a mesh in which things fail: every message has a number, and one that is not answered is reported.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::PeerError;
use super::build::GoProgram;

/// The server: HTTP and WebSockets on the port, gRPC on the next, bytes on the one after. It prints a line for each POST and call that it
/// worked on. After SIGTERM it tells its streams, and ends when their clients have closed them.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: SocketAddr, name: &str) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.args([format!("-listen={listen}"), format!("-name={name}")]);
    Ok(command)
}

/// What a client sends, and where; an address that is missing gets nothing.
#[derive(Clone, Debug)]
pub struct Load {
    /// HTTP requests and WebSockets.
    pub web: Option<SocketAddr>,
    /// gRPC calls and streams.
    pub calls: Option<SocketAddr>,
    /// Connections of bytes.
    pub bytes: Option<SocketAddr>,
    /// Requests of each kind a second, whether others were answered or not; half as many on each stream.
    pub rate: f64,
    /// Connections of bytes; half as many WebSockets and streams.
    pub connections: usize,
    /// How long it goes on.
    pub length: Duration,
}

/// The client. It prints a line for each message (see [`crate::faults::Message`]) and `end`.
///
/// # Errors
/// When it cannot be built.
pub fn client(name: &str, load: &Load) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    for (option, to) in [("web", load.web), ("calls", load.calls), ("bytes", load.bytes)] {
        command.args(to.map(|to| format!("-{option}={to}")));
    }
    command.args([
        format!("-name={name}"),
        format!("-rate={}", load.rate),
        format!("-connections={}", load.connections),
        format!("-for={}s", load.length.as_secs()),
        format!("-patience={}s", crate::faults::PATIENCE.as_secs()),
    ]);
    Ok(command)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "faults", module: "go", package: "./faults" };
