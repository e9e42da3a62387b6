//! Values that metrics, the access log and spans share: closed sets, so that no caller can choose a label.

use std::fmt;

use http::{Method, StatusCode, Version};
use outrigger_proto::{ErrorCode, grpc_status_name};

use super::trace::Kind;

/// Returns the method when it is one of HTTP's own (RFC 9110, PATCH and QUERY); others are `_OTHER` in metrics.
pub(crate) fn method_label(method: &Method) -> Option<&'static str> {
    METHODS.iter().copied().find(|known| *known == method.as_str())
}

pub(crate) const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// `network.protocol.version`.
pub(crate) fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// A gRPC status code as the trailers had it; what is beyond the known codes counts as `UNKNOWN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GrpcStatus(pub(crate) u8);

impl GrpcStatus {
    /// The server does not have the method.
    pub(crate) const UNIMPLEMENTED: Self = Self(12);

    pub(crate) fn name(self) -> &'static str {
        grpc_status_name(self.0).unwrap_or("UNKNOWN")
    }

    /// Returns the code, or `UNKNOWN` for one that an app made up.
    pub(crate) fn known(self) -> Self {
        if grpc_status_name(self.0).is_some() { self } else { Self(2) }
    }

    /// Says whether the code is the server's fault (OpenTelemetry's conventions for gRPC).
    fn blames_server(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    }
}

/// `error.type`: why a request counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ErrorType {
    /// The mesh made the error.
    Mesh(ErrorCode),
    /// The app's gRPC status.
    Grpc(GrpcStatus),
    /// The app's HTTP status.
    Status(StatusCode),
}

impl ErrorType {
    /// Says whether a request failed, and why: for servers 5xx and the gRPC codes that blame them, for clients also 4xx
    /// and every gRPC code but OK.
    pub(crate) fn of(
        kind: Kind,
        mesh: Option<ErrorCode>,
        status: Option<StatusCode>,
        grpc: Option<GrpcStatus>,
    ) -> Option<Self> {
        if let Some(code) = mesh {
            return Some(Self::Mesh(code));
        }
        if let Some(grpc) = grpc {
            let failed = match kind {
                Kind::Client => grpc.0 != 0,
                Kind::Server => grpc.blames_server(),
            };
            return failed.then_some(Self::Grpc(grpc));
        }
        let status = status?;
        let failed = status.is_server_error() || (kind == Kind::Client && status.is_client_error());
        failed.then_some(Self::Status(status))
    }

    /// Returns the error as one of a closed set, for labels.
    pub(crate) fn known(self) -> Self {
        match self {
            Self::Grpc(status) => Self::Grpc(status.known()),
            Self::Mesh(_) | Self::Status(_) => self,
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh(code) => f.write_str(code.token()),
            Self::Grpc(status) => f.write_str(status.name()),
            Self::Status(status) => f.write_str(status.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_counts_as_failed() {
        let status = |code| Some(StatusCode::from_u16(code).unwrap());
        let grpc = |code| Some(GrpcStatus(code));
        for (kind, mesh, status, grpc, want) in [
            (Kind::Server, None, status(200), None, "-"),
            (Kind::Server, None, status(404), None, "-"),
            (Kind::Client, None, status(404), None, "404"),
            (Kind::Client, None, status(302), None, "-"),
            (Kind::Server, None, status(503), None, "503"),
            (Kind::Client, None, status(503), None, "503"),
            (Kind::Client, Some(ErrorCode::DestinationUnavailable), status(503), None, "destination_unavailable"),
            (Kind::Client, None, None, None, "-"),
            (Kind::Server, None, status(200), grpc(0), "-"),
            (Kind::Server, None, status(200), grpc(5), "-"),
            (Kind::Client, None, status(200), grpc(5), "NOT_FOUND"),
            (Kind::Server, None, status(200), grpc(13), "INTERNAL"),
            (Kind::Server, None, status(200), grpc(99), "UNKNOWN"),
        ] {
            let got = ErrorType::of(kind, mesh, status, grpc).map_or_else(|| "-".to_owned(), |error| error.to_string());
            assert_eq!(got, want, "{kind:?} {status:?} {grpc:?}");
        }
    }
}
