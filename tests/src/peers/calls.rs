//! A gRPC server and clients on grpc-go that use up what they have: streams that nobody reads, many streams at once, large heads.

use std::net::SocketAddr;
use std::process::Command;

use super::PeerError;
use super::build::GoProgram;

/// The server, with flags such as `-streams=3`, how many it takes at once on a connection, and `-head=4096`, how large a head it takes.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: SocketAddr, flags: &[&str]) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(format!("-listen={listen}")).args(flags).arg("serve");
    Ok(command)
}

/// A client, which ends with 0 when all went as it should. `call` makes one; `head` makes one with `n` bytes of metadata; `unread` calls beside
/// `n` streams that it does not read; `watch` has `n` streams open at once and gives them up together; `hold` has `n` open, prints `holds`, and
/// ends only when one of them does.
///
/// # Errors
/// When it cannot be built.
pub fn client(to: SocketAddr, n: usize, what: &str) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.args([format!("-to={to}"), format!("-n={n}")]).arg(what);
    Ok(command)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "calls", module: "go", package: "./calls" };
