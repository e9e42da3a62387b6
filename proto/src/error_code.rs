//! The one table of errors that the mesh makes: code, docs, `outrigger explain`, logs, spans and metrics read it.

use std::fmt;
use std::str::FromStr;

/// What one error code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// `E001`.
    pub code: &'static str,
    /// The `Proxy-Status` error type (RFC 9209 section 2.3), or our own where the RFC has none; also the metric label.
    pub token: &'static str,
    /// HTTP status of the answer; `None`: the connection is closed.
    pub http_status: Option<u16>,
    /// gRPC status of the answer to a gRPC request.
    pub grpc_status: u8,
    /// One sentence: what happened.
    pub means: &'static str,
    /// Usual causes.
    pub causes: &'static str,
    /// What to look at and do next.
    pub next: &'static str,
}

macro_rules! errors {
    ($($variant:ident $code:literal $token:literal $http:expr, $grpc:literal, $means:literal, $causes:literal, $next:literal;)*) => {
        /// An error that the mesh itself makes; an app's own errors pass through unchanged.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $means] $variant,)*
        }

        impl ErrorCode {
            /// All codes, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the number in the code: 3 for `E003`.
            #[must_use]
            pub fn number(self) -> u8 {
                self.info().code[1..].parse().unwrap_or_default()
            }

            /// Finds the code with a number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.number() == number)
            }

            /// Returns the row of the table.
            #[must_use]
            pub fn info(self) -> &'static ErrorInfo {
                match self {
                    $(Self::$variant => &ErrorInfo {
                        code: $code, token: $token, http_status: $http, grpc_status: $grpc,
                        means: $means, causes: $causes, next: $next,
                    },)*
                }
            }
        }
    };
}

errors! {
    DestinationNotFound "E001" "destination_not_found" Some(404), 12,
        "No route rule matched the request.",
        "The service has routes attached, and a request that none of their rules matches is rejected (Gateway API).",
        "Compare the request's path, headers and method with the rules of the routes whose parent is the service; add a rule without matches as a default.";
    DestinationUnavailable "E002" "destination_unavailable" Some(503), 14,
        "The backend has no usable endpoint.",
        "No workload matches the service's selector, or none is ready. Endpoints that fail are never all left out.",
        "Look at the service's selector and at its workloads' readiness; the message says how many endpoints there are, if any, that are not ready.";
    ConnectionRefused "E003" "connection_refused" Some(502), 14,
        "The endpoint refused the connection.",
        "The app does not listen on its port, listens on another address, or has crashed.",
        "Check that the app listens on the target port of its service.";
    ConnectionTimeout "E004" "connection_timeout" Some(504), 14,
        "The endpoint did not accept the connection in time.",
        "The workload is gone, a network policy drops packets, or the machine is overloaded.",
        "Check the path to the endpoint that the message names.";
    ConnectionTerminated "E005" "connection_terminated" Some(502), 14,
        "The connection ended before a response came.",
        "The app crashed or closed a connection while a request was on it. One that closes its listener as soon as its pod ends resets what it had not accepted yet.",
        "Look at the app's log at that moment. Add a `preStop` sleep of 1 s so that the application accepts connections while it shuts down. A request that may have been processed is not repeated unless its route says so.";
    TlsCertificate "E006" "tls_certificate_error" Some(502), 14,
        "The peer's certificate is not valid for the identity expected of this endpoint.",
        "An address was reused by another workload, a certificate expired, or the peer belongs to another mesh.",
        "Compare the expected and the seen identity in the message; check clocks and certificate expiry.";
    TlsProtocol "E007" "tls_protocol_error" None, 14,
        "Plaintext, or TLS of another kind, came to a port that accepts mesh TLS only.",
        "The client has no sidecar and the workload's inbound mode is strict.",
        "Mesh the client, or set the workload's inbound mode to permissive.";
    ResponseTimeout "E008" "http_response_timeout" Some(504), 4,
        "The response did not come in time.",
        "The app is slow, or the timeout is shorter than the work takes.",
        "The message says whose time was up: that of a route, of a gRPC client (grpc-timeout), or of the request that this one was made for.";
    RetriesExhausted "E009" "retries_exhausted" Some(502), 14,
        "All attempts failed.",
        "Every endpoint that was tried failed, or the retry budget was spent.",
        "The message lists each attempt's cause; look that one up.";
    ConnectionLimit "E010" "connection_limit_reached" Some(503), 8,
        "A limit on connections or requests in flight was reached.",
        "More load than the limit allows, or requests that never end.",
        "The message names the limit and its value.";
    CircuitOpen "E011" "circuit_open" Some(503), 14,
        "No endpoint of the backend has answered in time of late.",
        "Every endpoint hangs or is overloaded: several requests in a row to each had no answer within the route's timeout.",
        "Look at the apps behind the backend. The message says since when they hang, and when the next request is let through; the first answer ends it.";
    RequestDenied "E012" "http_request_denied" Some(403), 7,
        "A policy denied the request.",
        "No policy allows the caller's identity to do this; or the request came in plaintext to a port whose mode is strict, and is for more than the pages that `config.outrigger.io/scrape` lists.",
        "The message names the identity seen and the policies considered, or the pages that plaintext may read.";
    RateLimited "E013" "rate_limited" Some(429), 8,
        "The caller is over its rate limit.",
        "More requests than the limit allows.",
        "Wait as long as Retry-After says.";
    ProxyLoop "E014" "proxy_loop_detected" Some(502), 10,
        "The request or connection came back to the proxy that sent it.",
        "A service's endpoint is the proxy itself, or two proxies forward to each other.",
        "Look at the hops that the message lists, and at where the service's endpoints point.";
    ProxyConfiguration "E015" "proxy_configuration_error" Some(503), 14,
        "The sidecar has no usable configuration for the destination.",
        "The control plane was never reached, or sent something that was refused.",
        "Run `outrigger check`, and look at the sidecar's /config for refused resources.";
    HttpProtocol "E016" "http_protocol_error" Some(400), 13,
        "One side sent malformed HTTP, or a head beyond a limit.",
        "A client or app that does not follow HTTP, a head that is larger than the mesh or the app takes, or a port that speaks another protocol than was declared.",
        "The message says which side; check the port's declared appProtocol.";
    ProtocolDetect "E017" "protocol_detect" None, 13,
        "The connection does not speak HTTP, and a rule needs HTTP.",
        "A rule about paths, headers or methods covers a port that carries another protocol.",
        "Narrow the rule to HTTP ports, or declare the port's appProtocol.";
    FaultInjected "E018" "fault_injected" Some(503), 14,
        "A policy asked for this fault.",
        "Fault injection is switched on.",
        "The message names the rule.";
    ClientClosed "E019" "client_closed" Some(499), 1,
        "The client went away before the response was complete.",
        "The client timed out or was stopped.",
        "Nothing, unless the client should have waited longer.";
    Internal "E020" "proxy_internal_error" Some(500), 13,
        "A fault of the proxy.",
        "A bug in Outrigger.",
        "Please report it with the sidecar's log and the version.";
    BackendInvalid "E021" "backend_invalid" Some(500), 14,
        "The route sends this request to a backend that does not exist.",
        "The route's backendRef names a missing Service or port, or a kind that cannot be a backend; or the rule has no backends.",
        "The message names the reference; fix the route or create the Service.";
}

impl ErrorCode {
    /// Returns `E001`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.info().code
    }

    /// Returns the stable token for logs, metrics and `Proxy-Status`.
    #[must_use]
    pub fn token(self) -> &'static str {
        self.info().token
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for ErrorCode {
    type Err = UnknownErrorCode;

    fn from_str(s: &str) -> Result<Self, UnknownErrorCode> {
        let found =
            Self::ALL.iter().find(|code| code.code().eq_ignore_ascii_case(s) || code.token().eq_ignore_ascii_case(s));
        found.copied().ok_or(UnknownErrorCode)
    }
}

/// A text that is neither a code nor a token of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such error code")]
pub struct UnknownErrorCode;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_tokens_are_unique_and_read_back() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(code.code(), format!("E{:03}", index + 1));
            assert_eq!(code.code().parse(), Ok(*code));
            assert_eq!(code.token().parse(), Ok(*code));
        }
    }
}
