//! PostgreSQL: a client that speaks first, in binary, and may ask for TLS in the middle of the connection.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::program::Program;
use super::{PeerError, finish};

/// The server, with its data in the empty folder `data`, and no passwords. Prepares the folder first (two seconds).
///
/// # Errors
/// When it is not installed or the folder cannot be prepared.
pub fn server(data: &Path, listen: SocketAddr) -> Result<Command, PeerError> {
    let mut prepare = without_root(&INITDB)?;
    prepare.args(["--username=postgres", "--auth=trust", "--no-sync", "--no-instructions", "--pgdata"]).arg(data);
    finish("initdb", &mut prepare)?;
    // As it is made, it lets nobody in from another address.
    let access = data.join("pg_hba.conf");
    std::fs::write(&access, "host all all all trust\n")
        .map_err(|source| PeerError::Io { step: access.display().to_string(), source })?;
    let mut command = without_root(&SERVER)?;
    command.arg("-F").arg("-D").arg(data).arg("-k").arg(data);
    command.args(["-h", &listen.ip().to_string(), "-p", &listen.port().to_string()]);
    // It is ended hard: what it shares must lie in its folder, not in the system's shared memory.
    command.args(["-c", "dynamic_shared_memory_type=mmap", "-c", "shared_memory_type=mmap"]);
    Ok(command)
}

/// The client, running `sql` and printing bare values.
///
/// # Errors
/// When it is not installed.
pub fn client(server: SocketAddr, sql: &str) -> Result<Command, PeerError> {
    let mut command = CLIENT.command()?;
    command.env("PGCONNECT_TIMEOUT", "30").args(["--username=postgres", "--no-psqlrc", "--no-align", "--tuples-only"]);
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string(), "--command", sql]);
    Ok(command)
}

/// PostgreSQL refuses to run as root. A user namespace gives it another user id, whoever we are, and the files in
/// its folder the same; the network namespace stays.
fn without_root(program: &Program) -> Result<Command, PeerError> {
    let mut command = UNSHARE.command()?;
    command.args(["--user", "--map-user=1000"]).arg(program.path()?);
    Ok(command)
}

const INITDB: Program = Program { name: "initdb", install: "apt-get install postgresql" };
const SERVER: Program = Program { name: "postgres", install: "apt-get install postgresql" };
const CLIENT: Program = Program { name: "psql", install: "apt-get install postgresql-client" };
const UNSHARE: Program = Program { name: "unshare", install: "apt-get install util-linux" };
