//! How long a body is (RFC 9112 section 6). Where two readers could disagree, a message is refused, or what they would disagree about is
//! taken away.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::error::Error;

/// The length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// So many bytes.
    Exact(u64),
    /// In chunks, the last of which is empty.
    Chunked,
    /// Everything up to the connection's end.
    UntilClose,
}

impl Length {
    pub(crate) const NONE: Self = Self::Exact(0);
}

/// Reads a request's framing; `true`: the connection must not be used again.
pub(crate) fn of_request(headers: &mut HeaderMap, version: Version) -> Result<(Length, bool), Error> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok((content_length(headers)?.map_or(Length::NONE, Length::Exact), false));
    }
    if version != Version::HTTP_11 {
        return Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"));
    }
    if !ends_in_chunked(headers) {
        return Err(Error::Malformed("Transfer-Encoding does not end in chunked"));
    }
    // Whoever sent both is not trusted with another request on this connection (section 6.1).
    Ok((Length::Chunked, headers.remove(CONTENT_LENGTH).is_some()))
}

/// Reads the framing of a response to a request with this method.
pub(crate) fn of_response(
    headers: &mut HeaderMap,
    version: Version,
    status: StatusCode,
    method: &Method,
) -> Result<Length, Error> {
    if !may_have_body(method, status) {
        return Ok(Length::NONE);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        if version != Version::HTTP_11 {
            return Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        headers.remove(CONTENT_LENGTH);
        return Ok(if ends_in_chunked(headers) { Length::Chunked } else { Length::UntilClose });
    }
    Ok(content_length(headers)?.map_or(Length::UntilClose, Length::Exact))
}

/// Says whether a response has a body at all (section 6.3, 1 and 2).
pub(crate) fn may_have_body(method: &Method, status: StatusCode) -> bool {
    !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD
        || (*method == Method::CONNECT && status.is_success()))
}

/// Reads `Content-Length`; several that agree become one.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let length = decimal(first.as_bytes()).ok_or(Error::Malformed("Content-Length is not a number"))?;
    let mut several = false;
    for other in values {
        several = true;
        if decimal(other.as_bytes()) != Some(length) {
            return Err(Error::Malformed("several lengths that differ"));
        }
    }
    if several {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

/// Digits and nothing else: no sign, no space, no list.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Says whether the last coding is `chunked`.
fn ends_in_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let coding = last.and_then(|value| value.as_bytes().rsplit(|byte| *byte == b',').next());
    coding.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn append(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut all = HeaderMap::new();
        for (name, value) in fields {
            all.append(*name, HeaderValue::from_static(value));
        }
        all
    }

    #[test]
    fn a_request_has_one_length_or_is_refused() {
        let te = "transfer-encoding";
        let cl = "content-length";
        for (fields, want) in [
            (&[][..], Ok((Length::NONE, false))),
            (&[(cl, "3")], Ok((Length::Exact(3), false))),
            (&[(cl, "3"), (cl, "3")], Ok((Length::Exact(3), false))),
            (&[(te, "chunked")], Ok((Length::Chunked, false))),
            (&[(te, "gzip, Chunked ")], Ok((Length::Chunked, false))),
            (&[(te, "gzip"), (te, "chunked")], Ok((Length::Chunked, false))),
            (&[(te, "chunked"), (cl, "3")], Ok((Length::Chunked, true))),
            (&[(te, "chunked"), (te, "identity")], Err(())),
            (&[(te, "chunked, gzip")], Err(())),
            (&[(te, "xchunked")], Err(())),
            (&[(te, "")], Err(())),
            (&[(cl, "3"), (cl, "4")], Err(())),
            (&[(cl, "+3")], Err(())),
            (&[(cl, "3, 3")], Err(())),
            (&[(cl, "-1")], Err(())),
            (&[(cl, "")], Err(())),
            (&[(cl, "0x10")], Err(())),
            (&[(cl, "18446744073709551616")], Err(())),
        ] {
            let mut all = append(fields);
            let got = of_request(&mut all, Version::HTTP_11).map_err(|_| ());
            assert_eq!(got, want, "{fields:?}");
            if want == Ok((Length::Chunked, true)) {
                assert!(!all.contains_key(CONTENT_LENGTH), "both lengths pass");
            }
        }
        assert!(of_request(&mut headers(&[(te, "chunked")]), Version::HTTP_10).is_err());
    }

    #[test]
    fn a_response_has_the_length_that_its_request_and_status_allow() {
        for (fields, status, method, want) in [
            (&[("content-length", "3")][..], 200, Method::GET, Some(Length::Exact(3))),
            (&[("content-length", "3")], 200, Method::HEAD, Some(Length::NONE)),
            (&[("content-length", "3")], 304, Method::GET, Some(Length::NONE)),
            (&[("transfer-encoding", "chunked")], 204, Method::GET, Some(Length::NONE)),
            (&[], 200, Method::CONNECT, Some(Length::NONE)),
            (&[], 200, Method::GET, Some(Length::UntilClose)),
            (&[("transfer-encoding", "chunked"), ("content-length", "3")], 200, Method::GET, Some(Length::Chunked)),
            (&[("transfer-encoding", "gzip")], 200, Method::GET, Some(Length::UntilClose)),
            (&[("content-length", "x")], 200, Method::GET, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let got = of_response(&mut headers(fields), Version::HTTP_11, status, &method).ok();
            assert_eq!(got, want, "{fields:?} {status} {method}");
        }
    }
}
