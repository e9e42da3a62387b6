//! A protocol whose server speaks first: go-smtp's debugging server, and curl as a client that waits for its greeting.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::PeerError;
use super::build::GoProgram;
use super::program::Program;

/// The server; it prints every conversation to stdout and accepts all mail.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = SERVER.command()?;
    command.arg(format!("-l={listen}"));
    Ok(command)
}

/// Sends the file `mail`; its exit status is the verdict.
///
/// # Errors
/// When curl is missing.
pub fn client(server: SocketAddr, mail: &Path) -> Result<Command, PeerError> {
    let mut command = CURL.command()?;
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"]);
    command.args(["--mail-from", "a@example.org", "--mail-rcpt", "b@example.org", "--upload-file"]).arg(mail);
    command.arg(format!("smtp://{server}/client.example.org"));
    Ok(command)
}

pub(super) const SERVER: GoProgram =
    GoProgram { name: "smtp-debug-server", module: "go", package: "github.com/emersion/go-smtp/cmd/smtp-debug-server" };
pub(super) const CURL: Program = Program { name: "curl", install: "apt-get install curl" };
