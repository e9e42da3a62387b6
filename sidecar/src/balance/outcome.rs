//! How an exchange with an endpoint ended, as far as it says something about the endpoint.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use outrigger_proto::ErrorCode;

use crate::error::{Fate, ProxyError};

/// The longest that an endpoint is left alone because it asks for that.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The endpoint answered, and can serve.
    Answered,
    /// It answered that it cannot serve (and perhaps for how long), or broke off.
    Failed { retry_after: Option<Duration> },
    /// Nobody listens there.
    Refused,
    /// Connections to it are not answered.
    Unreachable,
    /// It did not answer within the time that the route gives it.
    TimedOut,
    /// Nobody wants the answer any more, after a time in which the endpoint usually has answered.
    Late,
    /// Nothing was learnt.
    Unknown,
}

impl Outcome {
    /// What an answer's head says; `strict`: a policy has every error of the endpoint's count.
    pub(crate) fn of_response<B>(response: &Response<B>, strict: bool) -> Self {
        let (status, headers) = (response.status(), response.headers());
        let failed = match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => true,
            // Without `Retry-After` it is about the client, which had its share.
            StatusCode::TOO_MANY_REQUESTS => strict && headers.contains_key(RETRY_AFTER),
            _ => strict && status.is_server_error(),
        };
        if failed { Self::Failed { retry_after: retry_after(headers) } } else { Self::of_grpc(headers, strict) }
    }

    /// What a call's status says: in the trailers, or in the head when there is no message.
    pub(crate) fn of_grpc(headers: &HeaderMap, strict: bool) -> Self {
        let failed = match headers.get("grpc-status").map(AsRef::as_ref) {
            // UNAVAILABLE is what 503 is to HTTP.
            Some(b"14") => true,
            // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, DATA_LOSS.
            Some(b"2" | b"4" | b"13" | b"15") => strict,
            _ => false,
        };
        if failed { Self::Failed { retry_after: None } } else { Self::Answered }
    }

    /// What an error says that came in place of an answer.
    pub(crate) fn of_error(error: &ProxyError) -> Self {
        match (error.code, error.fate) {
            // It is ours, or its client's.
            (_, Fate::Withheld) | (ErrorCode::ConnectionLimit | ErrorCode::Internal, _) => Self::Unknown,
            // There was no time to ask it.
            (ErrorCode::ResponseTimeout, Fate::NotProcessed) => Self::Unknown,
            (ErrorCode::ConnectionRefused, _) => Self::Refused,
            (ErrorCode::ConnectionTimeout, _) => Self::Unreachable,
            // An idle connection that the peer had closed says nothing against the peer.
            (_, Fate::Unknown) => Self::Unknown,
            (ErrorCode::ConnectionTerminated, Fate::NotProcessed) if error.reused => Self::Unknown,
            (_, Fate::NotProcessed | Fate::MayHaveBeenProcessed) => Self::Failed { retry_after: None },
        }
    }
}

/// Seconds (RFC 9110 section 10.2.3); a date is for people.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER)).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Outcome = Outcome::Failed { retry_after: None };

    #[test]
    fn which_answers_are_failures_with_a_policy_and_without() {
        use Outcome::Answered;
        let later = Outcome::Failed { retry_after: Some(Duration::from_secs(7)) };
        let longest = Outcome::Failed { retry_after: Some(MAX_RETRY_AFTER) };
        for (status, grpc, after, without, with) in [
            (200, "0", "", Answered, Answered),
            (404, "0", "", Answered, Answered),
            (500, "0", "", Answered, FAILED),
            (503, "0", "", FAILED, FAILED),
            (503, "0", "7", later, later),
            (503, "0", "86400", longest, longest),
            (503, "0", "0", FAILED, FAILED),
            (503, "0", "Fri, 31 Dec 1999 23:59:59 GMT", FAILED, FAILED),
            (429, "0", "", Answered, Answered),
            (429, "0", "7", Answered, later),
            (200, "14", "", FAILED, FAILED),
            (200, "13", "", Answered, FAILED),
            (200, "5", "", Answered, Answered),
        ] {
            let mut response = Response::builder().status(status).header("grpc-status", grpc);
            if !after.is_empty() {
                response = response.header(RETRY_AFTER, after);
            }
            let response = response.body(()).unwrap();
            let seen = [false, true].map(|strict| Outcome::of_response(&response, strict));
            assert_eq!(seen, [without, with], "{status} {grpc} {after}");
        }
    }

    #[test]
    fn which_errors_speak_against_the_endpoint() {
        let error = |code, fate| ProxyError::new(code, "").fate(fate);
        let reused = ProxyError { reused: true, ..error(ErrorCode::ConnectionTerminated, Fate::NotProcessed) };
        for (error, outcome) in [
            (error(ErrorCode::ConnectionRefused, Fate::NotProcessed), Outcome::Refused),
            (error(ErrorCode::ConnectionTimeout, Fate::NotProcessed), Outcome::Unreachable),
            (error(ErrorCode::TlsCertificate, Fate::NotProcessed), FAILED),
            (error(ErrorCode::ConnectionTerminated, Fate::MayHaveBeenProcessed), FAILED),
            (error(ErrorCode::ConnectionTerminated, Fate::Unknown), Outcome::Unknown),
            (reused, Outcome::Unknown),
            (error(ErrorCode::ConnectionLimit, Fate::NotProcessed), Outcome::Unknown),
            (error(ErrorCode::ClientClosed, Fate::Withheld), Outcome::Unknown),
            (error(ErrorCode::ResponseTimeout, Fate::MayHaveBeenProcessed), FAILED),
            (error(ErrorCode::ResponseTimeout, Fate::NotProcessed), Outcome::Unknown),
        ] {
            assert_eq!(Outcome::of_error(&error), outcome, "{error}");
        }
    }
}
