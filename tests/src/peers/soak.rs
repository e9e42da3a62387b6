//! What a workload does all day, in three languages: connections that are kept, read from, or silent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::PeerError;
use super::build::{GoProgram, root};
use super::transparency::{NODE, PYTHON};

/// The server: echoes bodies, and WebSocket messages on `/quiet`; an event every three seconds on `/events`. On the next port it echoes bytes.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(format!("-listen={listen}"));
    Ok(command)
}

/// Go's client: requests to `web` on one connection; at `live` events, a silent WebSocket, and a pool of silent connections. Ends with 0 when
/// nothing of it has ended early.
///
/// # Errors
/// When it cannot be built.
pub fn client(web: SocketAddr, live: SocketAddr, length: Duration) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.args([format!("-web={web}"), format!("-live={live}"), format!("-for={}s", length.as_secs())]);
    Ok(command)
}

/// Node's requests on one connection.
///
/// # Errors
/// When Node is missing.
pub fn node(web: SocketAddr, length: Duration) -> Result<Command, PeerError> {
    script(NODE.command()?, "keepalive.js", web, length)
}

/// Python's requests on one connection.
///
/// # Errors
/// When Python is missing.
pub fn python(web: SocketAddr, length: Duration) -> Result<Command, PeerError> {
    script(PYTHON.command()?, "keepalive.py", web, length)
}

fn script(mut command: Command, name: &str, web: SocketAddr, length: Duration) -> Result<Command, PeerError> {
    command.arg(file(name)).args([web.to_string(), length.as_secs().to_string()]);
    Ok(command)
}

fn file(name: &str) -> PathBuf {
    root().join("tests/peers/soak").join(name)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "soak", module: "go", package: "./soak" };
