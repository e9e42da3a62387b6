//! How requests and their repetitions end.

use http::StatusCode;

use crate::error::ProxyError;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its response was passed on whole.
    Complete,
    /// The app or the peer broke off in the middle.
    Broken,
    /// The client left first.
    Abandoned,
}

/// What is told at a request's end.
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<u8>,
    pub(crate) error: Option<ProxyError>,
    pub(crate) response_bytes: u64,
}

/// What became of a request whose first attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryOutcome {
    /// A later attempt succeeded.
    Succeeded,
    /// The last attempt failed too.
    Failed,
    /// The retry budget was spent.
    OverBudget,
    /// More of the body was gone than is kept.
    NotReplayable,
}
