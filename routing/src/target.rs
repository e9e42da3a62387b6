//! Parts of a URI that a rule puts in place of a request's.

use http::uri::Authority;
use outrigger_proto::model::PathModifier;

use crate::{CompileError, path};

/// A rewritten path together with the query is longer than a URI may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten path and the query are longer than 65534 bytes")]
pub struct UriTooLong;

/// Reads a host name (RFC 1123 section 2.1): it goes into a header or a Location as it is.
pub(crate) fn host_name(text: &str) -> Result<Authority, CompileError> {
    let fits = text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    let authority = Authority::try_from(text).ok().filter(|_| fits);
    authority.ok_or_else(|| CompileError::at("hostname", format_args!("`{text}` is not a host name")))
}

/// Checks that the replacement is a path in the one normal form, so that every path made of it is; nothing counts as `/`.
pub(crate) fn compile_path(modifier: &PathModifier) -> Result<PathModifier, CompileError> {
    let (field, text) = match modifier {
        PathModifier::ReplaceFull(text) => ("path.replaceFullPath", text),
        PathModifier::ReplacePrefix(text) => ("path.replacePrefixMatch", text),
    };
    if !text.is_empty() {
        path::check(text).map_err(|problem| CompileError::at(field, problem))?;
    }
    Ok(modifier.clone())
}
