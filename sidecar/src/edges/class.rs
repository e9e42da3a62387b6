//! How requests, attempts and dials end, in classes.

use http::{HeaderMap, StatusCode};
use outrigger_proto::ErrorCode;

use crate::error::ProxyError;

/// How something ended. What its client gave up has no class: that is nobody's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A status below 400; gRPC's OK.
    Ok,
    /// 4xx, and the gRPC statuses that blame the client.
    ClientError,
    /// 5xx.
    ServerError,
    /// A gRPC status that blames the server.
    GrpcError,
    /// The connection ended before the response did.
    Reset,
    /// The endpoint refused the connection.
    Refused,
    /// There was no response, or no connection, in time.
    TimedOut,
    /// The mesh's own error: no endpoint, a limit, TLS, a policy.
    MeshError,
}

impl Class {
    /// All, in the order of reports.
    pub(crate) const ALL: [Self; 8] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::GrpcError,
        Self::Reset,
        Self::Refused,
        Self::TimedOut,
        Self::MeshError,
    ];

    /// The label of metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::GrpcError => "grpc_error",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::MeshError => "mesh_error",
        }
    }

    /// What a response's head says.
    pub(crate) fn of_response(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        match headers.get("grpc-status") {
            Some(_) if status.as_u16() < 400 => Self::of_trailers(headers),
            _ => Some(Self::of_status(status)),
        }
    }

    /// What the status of a gRPC call says, which is in the trailers or in the head; `None`: the call was cancelled.
    pub(crate) fn of_trailers(headers: &HeaderMap) -> Option<Self> {
        match headers.get("grpc-status") {
            None => Some(Self::Ok),
            // What is no number is not gRPC's, and gRPC takes it for UNKNOWN.
            Some(value) => Self::of_grpc(value.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(2)),
        }
    }

    /// What a gRPC status says; `None`: CANCELLED.
    pub(crate) fn of_grpc(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Ok),
            1 => None,
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what is none of gRPC's.
            2 | 4 | 12..=15 | 17.. => Some(Self::GrpcError),
            3 | 5..=11 | 16 => Some(Self::ClientError),
        }
    }

    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Ok,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// What an error of the mesh says; `None`: the client went away.
    pub(crate) fn of_error(error: &ProxyError) -> Option<Self> {
        // Of several attempts that failed, the last one's.
        Self::of_code(error.answered_as.unwrap_or(error.code))
    }

    fn of_code(code: ErrorCode) -> Option<Self> {
        Some(match code {
            ErrorCode::ClientClosed => return None,
            ErrorCode::ConnectionRefused => Self::Refused,
            ErrorCode::ConnectionTimeout | ErrorCode::ResponseTimeout => Self::TimedOut,
            ErrorCode::ConnectionTerminated => Self::Reset,
            ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::TlsCertificate
            | ErrorCode::TlsProtocol
            | ErrorCode::RetriesExhausted
            | ErrorCode::ConnectionLimit
            | ErrorCode::CircuitOpen
            | ErrorCode::RequestDenied
            | ErrorCode::RateLimited
            | ErrorCode::ProxyLoop
            | ErrorCode::ProxyConfiguration
            | ErrorCode::HttpProtocol
            | ErrorCode::ProtocolDetect
            | ErrorCode::FaultInjected
            | ErrorCode::Internal
            | ErrorCode::BackendInvalid => Self::MeshError,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_have_a_class_by_status_and_by_grpc_status() {
        for (status, grpc, class) in [
            (200, "", Some(Class::Ok)),
            (304, "", Some(Class::Ok)),
            (404, "", Some(Class::ClientError)),
            (500, "", Some(Class::ServerError)),
            (999, "", Some(Class::ServerError)),
            (200, "0", Some(Class::Ok)),
            (200, "1", None),
            (200, "5", Some(Class::ClientError)),
            (200, "14", Some(Class::GrpcError)),
            (200, "99", Some(Class::GrpcError)),
            (200, "300", Some(Class::GrpcError)),
            (200, "no", Some(Class::GrpcError)),
            (503, "0", Some(Class::ServerError)),
        ] {
            let mut headers = HeaderMap::new();
            if !grpc.is_empty() {
                headers.insert("grpc-status", grpc.parse().unwrap());
            }
            assert_eq!(Class::of_response(StatusCode::from_u16(status).unwrap(), &headers), class, "{status} {grpc}");
        }
    }

    #[test]
    fn errors_have_the_class_of_what_failed_last_and_a_client_that_leaves_has_none() {
        let error = |code| ProxyError::new(code, "");
        let after_retries =
            ProxyError { answered_as: Some(ErrorCode::ConnectionRefused), ..error(ErrorCode::RetriesExhausted) };
        assert_eq!(Class::of_error(&after_retries), Some(Class::Refused));
        assert_eq!(Class::of_error(&error(ErrorCode::ResponseTimeout)), Some(Class::TimedOut));
        assert_eq!(Class::of_error(&error(ErrorCode::ConnectionTerminated)), Some(Class::Reset));
        assert_eq!(Class::of_error(&error(ErrorCode::DestinationUnavailable)), Some(Class::MeshError));
        assert_eq!(Class::of_error(&error(ErrorCode::ClientClosed)), None);
    }
}
