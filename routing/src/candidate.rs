//! One match of a rule.

use http::Method;
use regex::bytes::Regex;

use crate::RequestView;
use crate::matcher::{HeaderMatcher, QueryMatcher, TextMatcher};

/// One match of one rule: what its place in the index has not decided yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u32,
    pub(crate) place: u16,
    pub(crate) prefix: u16,
    // Higher comes first: of what the path condition says, then of the rest in the order of the fields.
    pub(crate) rank: u8,
    pub(crate) path: PathCheck,
    pub(crate) method: Option<Method>,
    pub(crate) headers: Box<[HeaderMatcher]>,
    pub(crate) query: Box<[QueryMatcher]>,
}

impl Candidate {
    /// Its conditions on headers.
    pub(crate) fn headers(&self) -> &[HeaderMatcher] {
        &self.headers
    }

    pub(crate) fn matches(&self, request: &RequestView<'_>) -> bool {
        self.path.matches(request.path)
            && self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|header| header.matches(request))
            && self.query.iter().all(|query| query.matches(request))
    }
}

/// What remains to be asked of the path.
#[derive(Debug)]
pub(crate) enum PathCheck {
    Done,
    Regex(Regex),
    Grpc { service: Option<TextMatcher>, method: Option<TextMatcher> },
}

impl PathCheck {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Done => true,
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
            Self::Grpc { service, method } => {
                let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
                let Some((its_service, its_method)) = parts.filter(|(_, method)| !method.contains('/')) else {
                    return false;
                };
                let matches = |want: &Option<TextMatcher>, text: &str| {
                    want.as_ref().is_none_or(|want| want.matches(text.as_bytes()))
                };
                matches(service, its_service) && matches(method, its_method)
            }
        }
    }
}
