//! h2spec: the conformance tests for HTTP/2 servers.

use std::path::Path;
use std::process::Command;

use super::PeerError;
use super::build::GoProgram;

/// The tests, strict ones included, against `host:port`; what became of each goes to `report`, as JUnit writes it.
///
/// # Errors
/// When it cannot be built.
pub fn client(host: &str, port: u16, report: &Path) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    // A case that waits for an answer in vain has failed after so many seconds; a busy machine takes a while.
    command.args(["--strict", "--timeout=5", "--host", host, "--port", &port.to_string()]);
    command.arg("--junit-report").arg(report);
    Ok(command)
}

pub(super) const PROGRAM: GoProgram =
    GoProgram { name: "h2spec", module: "h2spec", package: "github.com/summerwind/h2spec/cmd/h2spec" };
