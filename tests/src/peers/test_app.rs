//! The application of the cluster's tests, which is no peer but Go as well: a server and a client that know nothing of the mesh.

use std::process::Command;

use super::PeerError;
use super::build::GoProgram;

/// The program in one of its modes.
///
/// # Errors
/// When it cannot be built.
pub fn command(mode: &str) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(mode);
    Ok(command)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "test-app", module: "../cluster/app", package: "." };
