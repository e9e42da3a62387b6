//! Why the mesh could not do what it was asked: one type at the request edge, with the code of the error table, the
//! cause in words, and what a retry may assume.

use std::fmt;
use std::net::SocketAddr;

use http::StatusCode;
use outrigger_daemon::error_chain;
use outrigger_identity::{PeerError, verify_failure};
use outrigger_proto::ErrorCode;
use outrigger_wire::{http1, http2};

/// What is known about the fate of a failed attempt. It decides whether the attempt may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The peer provably never processed the request: repeating it is always safe.
    NotProcessed,
    /// A reused connection ended before the first byte of a response: most likely an idle connection that the peer had
    /// given up. Only what is idempotent may be repeated (RFC 9110 section 9.2.2).
    Unknown,
    /// The peer may have processed the request.
    MayHaveBeenProcessed,
    /// A policy, or its own client, kept the request from being sent; repeating it would meet the same.
    Withheld,
}

/// An error that the mesh makes.
#[derive(Debug)]
pub(crate) struct ProxyError {
    /// The row of the error table.
    pub(crate) code: ErrorCode,
    /// What happened, in words, for the answer, the log and the span.
    pub(crate) detail: String,
    /// Whether it may be repeated.
    pub(crate) fate: Fate,
    /// Whose status the answer has, when another error's than `code`'s.
    pub(crate) answered_as: Option<ErrorCode>,
    /// The answer's status, when it is not that of the error table.
    pub(crate) status: Option<Status>,
    /// It came of a connection that earlier requests had used.
    pub(crate) reused: bool,
    /// The code that the endpoint reset the stream with, or that says the same: who speaks HTTP/2 is told it as it came.
    pub(crate) reset: Option<http2::Reason>,
}

/// The status of an answer in both of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) http: StatusCode,
    pub(crate) grpc: u8,
}

impl ProxyError {
    /// Makes an error of an attempt that never reached a peer.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            fate: Fate::NotProcessed,
            answered_as: None,
            status: None,
            reused: false,
            reset: None,
        }
    }

    /// Says what is known about the attempt's fate.
    #[must_use]
    pub(crate) fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    /// Says what the answer's status is.
    #[must_use]
    pub(crate) fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Makes the error of a TCP connection that could not be opened.
    #[must_use]
    pub(crate) fn connect(endpoint: SocketAddr, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::ConnectionRefused,
        };
        let hint = if error.kind() == std::io::ErrorKind::ConnectionRefused { "; is the app listening?" } else { "" };
        Self::new(code, format!("connect to {endpoint}: {error}{hint}"))
    }

    /// Makes the error of a failed TLS handshake with an endpoint.
    #[must_use]
    pub(crate) fn handshake(endpoint: SocketAddr, error: &std::io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let code = match tls {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificate,
            // The peer's verdict on our leaf comes as an alert.
            Some(rustls::Error::AlertReceived(_)) => ErrorCode::TlsCertificate,
            Some(_) => ErrorCode::TlsProtocol,
            None if error.kind() == std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            None => ErrorCode::ConnectionTerminated,
        };
        let detail = match tls.and_then(verify_failure) {
            Some(PeerError::Unexpected { expected, seen }) => {
                format!("TLS to {endpoint}: expected identity {expected}, got {seen}")
            }
            Some(other) => format!("{endpoint}: {other}"),
            None => format!("TLS with {endpoint}: {error}"),
        };
        Self::new(code, detail)
    }

    /// Makes the error of a request that failed on an open HTTP/1 connection before its response.
    #[must_use]
    pub(crate) fn http1(endpoint: SocketAddr, error: &http1::Error, reused: bool) -> Self {
        let (code, fate) = match error {
            http1::Error::Unsent(_) => (ErrorCode::ConnectionTerminated, Fate::NotProcessed),
            http1::Error::Closed | http1::Error::Io(_) if reused => (ErrorCode::ConnectionTerminated, Fate::Unknown),
            http1::Error::Body(_) | http1::Error::BodyReset(_) | http1::Error::Left => {
                return Self::body_broke_off(error);
            }
            error if error.is_malformed() => (ErrorCode::HttpProtocol, Fate::MayHaveBeenProcessed),
            _ => (ErrorCode::ConnectionTerminated, Fate::MayHaveBeenProcessed),
        };
        Self::from_endpoint(code, fate, endpoint, reused, error)
    }

    /// Makes the error of a request that failed on an open HTTP/2 connection before its response.
    #[must_use]
    pub(crate) fn http2(endpoint: SocketAddr, error: &http2::Error, reused: bool) -> Self {
        let code = if error.is_protocol() { ErrorCode::HttpProtocol } else { ErrorCode::ConnectionTerminated };
        let fate = match error {
            http2::Error::GivenUp => return Self::body_broke_off(error),
            http2::Error::HeadTooLarge { .. } => {
                let status = Status { http: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, grpc: 8 };
                let this = Self::new(ErrorCode::HttpProtocol, format!("{endpoint}: {error}"));
                return this.fate(Fate::Withheld).status(status);
            }
            error if error.is_unprocessed() => Fate::NotProcessed,
            error if reused && !error.is_protocol() => Fate::Unknown,
            _ => Fate::MayHaveBeenProcessed,
        };
        let this = Self::from_endpoint(code, fate, endpoint, reused, error);
        let reset = match error {
            http2::Error::Reset { reason } => Some(*reason),
            // A fresh connection that takes no request is a refusal, too.
            http2::Error::GoAway { .. } if !reused => Some(http2::Reason::REFUSED_STREAM),
            _ => None,
        };
        let Some(reason) = reset else { return this };
        let status = Status { http: StatusCode::BAD_GATEWAY, grpc: grpc_status(reason) };
        Self { reset, ..this.status(status) }
    }

    /// Says whether the endpoint refused the request before any work on it.
    pub(crate) fn is_refusal(&self) -> bool {
        self.reset == Some(http2::Reason::REFUSED_STREAM)
    }

    fn from_endpoint(
        code: ErrorCode,
        fate: Fate,
        endpoint: SocketAddr,
        reused: bool,
        error: &dyn std::error::Error,
    ) -> Self {
        let connection = if reused { "a reused" } else { "a fresh" };
        let this = Self::new(code, format!("{endpoint} on {connection} connection: {}", error_chain(error)));
        let this = Self { reused, ..this.fate(fate) };
        match code {
            ErrorCode::HttpProtocol => this.by_server(),
            _ => this,
        }
    }

    /// It is the server's message that is malformed, not the client's: 502, and INTERNAL.
    #[must_use]
    pub(crate) fn by_server(self) -> Self {
        self.status(Status { http: StatusCode::BAD_GATEWAY, grpc: 13 })
    }

    /// Makes the error of a request whose client broke off, or ended its side: no fault of the endpoint's, and nothing to repeat.
    #[must_use]
    pub(crate) fn body_broke_off(error: &dyn std::error::Error) -> Self {
        Self::new(ErrorCode::ClientClosed, error.to_string()).fate(Fate::Withheld)
    }
}

/// What gRPC's specification of HTTP/2 makes of a stream that is reset.
fn grpc_status(reason: http2::Reason) -> u8 {
    match reason {
        http2::Reason::REFUSED_STREAM => 14,
        http2::Reason::CANCEL => 1,
        http2::Reason::ENHANCE_YOUR_CALM => 8,
        http2::Reason::INADEQUATE_SECURITY => 7,
        _ => 13,
    }
}

impl From<crate::orig_dst::OrigDstError> for ProxyError {
    fn from(error: crate::orig_dst::OrigDstError) -> Self {
        let code = match error {
            crate::orig_dst::OrigDstError::NotRedirected { .. } => ErrorCode::ProxyLoop,
            crate::orig_dst::OrigDstError::Unreadable(_) => ErrorCode::ClientClosed,
        };
        Self::new(code, error_chain(&error))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.code.token(), self.detail)
    }
}

impl std::error::Error for ProxyError {}
