//! A WebSocket server and client on gorilla/websocket.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::PeerError;
use super::build::GoProgram;

/// The server: echoes on every path but `/refused` (403), and speaks first.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(format!("-listen={listen}")).arg("serve");
    Ok(command)
}

/// The client: handshake with subprotocol and compression, messages up to 1 MiB, fragments, silence for `idle`, ping,
/// close with a code of its own. Prints `ok` and exits with 0 when all of it came through.
///
/// # Errors
/// When it cannot be built.
pub fn client(url: &str, idle: Duration) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(format!("-idle={}ms", idle.as_millis())).args(["dial", url]);
    Ok(command)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "websocket", module: "go", package: "./websocket" };
