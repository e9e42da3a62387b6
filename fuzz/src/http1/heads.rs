//! The head of a request against httparse, told only what the letter of RFC 9112 says: what we take is what it reads, and what any
//! ordinary client sends is taken.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use outrigger_wire::http1;

use super::{reference, view};
use crate::runtime;
use crate::script::{End, Script, Split};

/// Runs the target.
///
/// # Panics
/// When the two differ in a way that is not meant.
pub fn run(data: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; outrigger_wire::MAX_FIELDS];
    let mut theirs = httparse::Request::new(&mut fields);
    let length = match theirs.parse(data) {
        Ok(httparse::Status::Complete(length)) => Some(length),
        Ok(httparse::Status::Partial) | Err(_) => None,
    };
    let ours = ours(data);
    let Some((line, ours)) = ours else {
        // Many empty lines before a request are refused here.
        let plain = data.first().is_some_and(u8::is_ascii_graphic);
        assert!(length.is_none() || !plain || !is_ordinary(&theirs), "refused: {theirs:?}");
        return;
    };
    assert!(length.is_some(), "taken, though it is no head: {line} {ours:?}");
    let (method, target) = (theirs.method.unwrap_or_default(), theirs.path.unwrap_or_default());
    assert_eq!(line, format!("{method} {}", reference::with_path(target)), "the request line");
    let mut expected: view::Fields =
        theirs.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())).collect();
    expected.sort_by(|(a, _), (b, _)| a.cmp(b));
    let framing = |name: &str| name == "content-length" || name == "transfer-encoding";
    // How those are passed on is what the target `http1_server` looks at.
    expected.retain(|(name, _)| !framing(name));
    let ours: view::Fields = ours.into_iter().filter(|(name, _)| !framing(name)).collect();
    assert_eq!(ours, expected, "fields");
}

fn ours(data: &[u8]) -> Option<(String, view::Fields)> {
    let (io, _) = Script::new(Split::Whole.cut(data), End::Open);
    let seen = Rc::new(RefCell::new(None));
    let options = http1::Options::default();
    let serving = http1::serve(io, &options, |request: Request<http1::Incoming>| {
        if request.extensions().get::<http1::RawTarget>().is_some() {
            // httparse refuses some of the targets that no URI has, and what is taken here has another form.
            return std::future::pending::<Response<Empty<Bytes>>>();
        }
        let line = format!("{} {}", request.method(), request.uri());
        seen.borrow_mut().get_or_insert_with(|| (line, view::fields(request.headers())));
        std::future::pending::<Response<Empty<Bytes>>>()
    });
    // It waits for the answer that does not come, or for the rest of the head.
    let _ = runtime::run(serving);
    seen.take()
}

/// Whether there is nothing about a request that could be refused.
fn is_ordinary(request: &httparse::Request<'_, '_>) -> bool {
    let target = request.path.unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/?&=+,;:@!$'()*%".contains(&byte);
    let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let host = hosts.next().is_some_and(|field| {
        !field.value.is_empty() && field.value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte))
    });
    let special = ["content-length", "transfer-encoding", "connection", "upgrade", "expect", "http2-settings"];
    request.version == Some(1)
        && request.method != Some("CONNECT")
        && target.starts_with('/')
        && target.bytes().all(plain)
        && host
        && hosts.next().is_none()
        && !request.headers.iter().any(|field| special.iter().any(|name| field.name.eq_ignore_ascii_case(name)))
}
