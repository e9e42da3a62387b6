//! A real Prometheus, promtool, and the strict OpenMetrics parser of Prometheus' library for Python.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::PeerError;
use super::program::Program;
use super::smtp::CURL;

/// The server; `folder` is for its data.
///
/// # Errors
/// When it is not installed.
pub fn server(config: &Path, folder: &Path, listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = SERVER.command()?;
    command.args(["--log.level=warn", &format!("--web.listen-address={listen}")]);
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.display()));
    Ok(command)
}

/// Queries its API and prints the JSON: `/api/v1/query?query=…`.
///
/// # Errors
/// When curl is missing.
pub fn query(server: SocketAddr, path: &str) -> Result<Command, PeerError> {
    let mut command = CURL.command()?;
    command.args(["--silent", "--show-error", "--fail", "--globoff", "--noproxy", "*", "--max-time", "30"]);
    command.arg(format!("http://{server}{path}"));
    Ok(command)
}

/// Lints a page in the text format, in the file: prints what it complains of, and fails if there is anything.
///
/// # Errors
/// When it is not installed.
pub fn check_metrics(page: &Path) -> Result<Command, PeerError> {
    let promtool = PROMTOOL.path()?;
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" check metrics < \"$1\""]).arg(promtool).arg(page);
    Ok(command)
}

/// Parses a page in OpenMetrics, in the file, by the book: fails where it is not valid.
///
/// # Errors
/// When Python is not installed.
pub fn parse_openmetrics(page: &Path) -> Result<Command, PeerError> {
    // Debian's own, which finds Debian's packages.
    let python = Path::new("/usr/bin/python3");
    if !Path::new("/usr/lib/python3/dist-packages/prometheus_client").exists() {
        let install = "apt-get install python3-prometheus-client";
        return Err(PeerError::Missing { program: "prometheus_client", install });
    }
    let mut command = Command::new(python);
    command.args(["-c", PARSE]).arg(page);
    Ok(command)
}

const PARSE: &str = "import sys
from prometheus_client.openmetrics.parser import text_fd_to_metric_families
print(len(list(text_fd_to_metric_families(open(sys.argv[1])))))
";

const SERVER: Program = Program { name: "prometheus", install: "apt-get install prometheus" };
const PROMTOOL: Program = Program { name: "promtool", install: "apt-get install prometheus" };
