//! Redis: an opaque protocol whose client speaks first.

use std::net::SocketAddr;
use std::process::Command;

use super::PeerError;
use super::program::Program;

/// The server, in memory only.
///
/// # Errors
/// When it is not installed.
pub fn server(listen: SocketAddr) -> Result<Command, PeerError> {
    let mut command = SERVER.command()?;
    command.args(["--bind", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no"]);
    Ok(command)
}

/// The client, running one Redis command.
///
/// # Errors
/// When it is not installed.
pub fn client(server: SocketAddr, words: &[&str]) -> Result<Command, PeerError> {
    let mut command = CLIENT.command()?;
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string(), "-e", "--raw"]).args(words);
    Ok(command)
}

/// The load generator that comes with Redis: `requests` pipelined SETs and GETs over 20 connections, figures as CSV.
///
/// # Errors
/// When it is not installed.
pub fn benchmark(server: SocketAddr, requests: u32) -> Result<Command, PeerError> {
    let mut command = BENCHMARK.command()?;
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command.args(["-t", "set,get", "-c", "20", "-P", "8", "-n", &requests.to_string(), "--csv"]);
    Ok(command)
}

const SERVER: Program = Program { name: "redis-server", install: "apt-get install redis-server" };
const CLIENT: Program = Program { name: "redis-cli", install: "apt-get install redis-tools" };
const BENCHMARK: Program = Program { name: "redis-benchmark", install: "apt-get install redis-tools" };
