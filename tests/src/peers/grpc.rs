//! grpc-go's interoperability client and server: every kind of call, trailers, cancellation, deadlines, metadata.

use std::process::Command;

use super::PeerError;
use super::build::GoProgram;

/// The client's test cases that need nothing but a plaintext server (named as in gRPC's interop-test-descriptions.md).
pub const CASES: &[&str] = &[
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// The server, on `port` of every address.
///
/// # Errors
/// When it cannot be built.
pub fn server(port: u16) -> Result<Command, PeerError> {
    let mut command = SERVER.command()?;
    command.arg(format!("--port={port}"));
    Ok(command)
}

/// The client, running one of [`CASES`]; its exit status is the verdict, stderr says why.
///
/// # Errors
/// When it cannot be built.
pub fn client(host: &str, port: u16, case: &str) -> Result<Command, PeerError> {
    let mut command = CLIENT.command()?;
    command.args([
        format!("--server_host={host}"),
        format!("--server_port={port}"),
        format!("--test_case={case}"),
        "--use_tls=false".into(),
    ]);
    Ok(command)
}

pub(super) const CLIENT: GoProgram =
    GoProgram { name: "grpc-interop-client", module: "go", package: "google.golang.org/grpc/interop/client" };
pub(super) const SERVER: GoProgram =
    GoProgram { name: "grpc-interop-server", module: "go", package: "google.golang.org/grpc/interop/server" };
