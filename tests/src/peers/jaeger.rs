//! A real Jaeger, all in one process with its traces in memory: takes OTLP, answers queries as JSON.

use std::net::SocketAddr;
use std::process::Command;

use super::PeerError;
use super::build::GoProgram;
use super::smtp::CURL;

/// Where Jaeger listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// The query API.
    pub query: SocketAddr,
}

/// The server.
///
/// # Errors
/// When it cannot be built.
pub fn server(listen: Addresses) -> Result<Command, PeerError> {
    let mut command = ALL_IN_ONE.command()?;
    command.args([
        format!("--collector.otlp.grpc.host-port={}", listen.otlp_grpc),
        format!("--collector.otlp.http.host-port={}", listen.otlp_http),
        format!("--query.http-server.host-port={}", listen.query),
    ]);
    // Its other ports have fixed numbers, which two Jaegers on one host would fight for.
    for unused in UNUSED_LISTENERS {
        command.arg(format!("--{unused}={}", SocketAddr::new(listen.query.ip(), 0)));
    }
    // Built from its Go module it has no web page; the API needs none.
    command.args(["--log-level=warn", "--memory.max-traces=100000"]).env("SPAN_STORAGE_TYPE", "memory");
    Ok(command)
}

/// Asks the query API and prints its JSON: `/api/services`, `/api/traces?service=…`, `/api/traces/<id>`,
/// `/api/dependencies?endTs=…`.
///
/// # Errors
/// When curl is missing.
pub fn query(jaeger: Addresses, path: &str) -> Result<Command, PeerError> {
    let mut command = CURL.command()?;
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30"]);
    command.arg(format!("http://{}{path}", jaeger.query));
    Ok(command)
}

pub(super) const ALL_IN_ONE: GoProgram = GoProgram {
    name: "jaeger-all-in-one",
    module: "jaeger",
    package: "github.com/jaegertracing/jaeger/cmd/all-in-one",
};

const UNUSED_LISTENERS: [&str; 4] = [
    "admin.http.host-port",
    "collector.grpc-server.host-port",
    "collector.http-server.host-port",
    "query.grpc-server.host-port",
];
