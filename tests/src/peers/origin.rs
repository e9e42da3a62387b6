//! HTTP/1 servers of three makes that print what they read: net/http, Node's http, gunicorn. What one forgives another refuses.

use std::net::SocketAddr;
use std::process::Command;

use super::PeerError;
use super::build::{GoProgram, root};
use super::program::Program;

/// On Go's net/http.
///
/// # Errors
/// When it cannot be built.
pub fn go(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = PROGRAM.command()?;
    command.arg(format!("-listen={listen}"));
    Ok(command)
}

/// On Node's http.
///
/// # Errors
/// When Node is missing.
pub fn node(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = NODE.command()?;
    command.arg(root().join("tests/peers/origin/origin.js"));
    command.args([listen.ip().to_string(), listen.port().to_string()]);
    Ok(command)
}

/// On gunicorn, which keeps its connections.
///
/// # Errors
/// When gunicorn is missing.
pub fn gunicorn(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = GUNICORN.command()?;
    command.args(["--worker-class", "gthread", "--threads", "16", "--keep-alive", "60", "--log-level", "critical"]);
    command.args(["--bind", &listen.to_string(), "--worker-tmp-dir", "/dev/shm", "--chdir"]);
    command.arg(root().join("tests/peers/origin")).arg("origin:app").env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

pub(super) const PROGRAM: GoProgram = GoProgram { name: "origin", module: "go", package: "./origin" };
const NODE: Program = Program { name: "node", install: "apt-get install nodejs" };
const GUNICORN: Program = Program { name: "gunicorn", install: "apt-get install gunicorn" };
