//! MariaDB: MySQL's protocol, where the client says nothing until the server has greeted it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::PeerError;
use super::program::Program;

/// The server, with its data in the empty folder `data`, and no passwords.
///
/// # Errors
/// When it is not installed.
pub fn server(data: &Path, listen: SocketAddr) -> Result<Command, PeerError> {
    let option = |name: &str, file: &str| format!("--{name}={}", data.join(file).display());
    let mut command = SERVER.command()?;
    command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
    command.args([option("socket", "mysqld.sock"), option("pid-file", "mysqld.pid")]);
    command.arg(format!("--bind-address={}", listen.ip())).arg(format!("--port={}", listen.port()));
    // Without grant tables it starts in an empty folder, within a second. --user only keeps it from refusing root.
    command.args(["--skip-grant-tables", "--skip-name-resolve", "--user=root"]);
    command.args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M"]);
    Ok(command)
}

/// The client, running `sql` and printing bare values.
///
/// # Errors
/// When it is not installed.
pub fn client(server: SocketAddr, sql: &str) -> Result<Command, PeerError> {
    let mut command = CLIENT.command()?;
    command.args(["--no-defaults", "--protocol=tcp", "--connect-timeout=30", "--batch", "--skip-column-names"]);
    command.arg(format!("--host={}", server.ip())).arg(format!("--port={}", server.port()));
    command.args(["--execute", sql]);
    Ok(command)
}

const SERVER: Program = Program { name: "mariadbd", install: "apt-get install mariadb-server-core" };
const CLIENT: Program = Program { name: "mariadb", install: "apt-get install mariadb-client-core" };
