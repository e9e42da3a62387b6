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
    if !says(headers, b"chunked") {
        return Err(Error::Malformed("Transfer-Encoding is not chunked"));
    }
    // Whoever sent both is not trusted with another request on this connection (section 6.1), and a length that is none is refused.
    let both = content_length(headers)?.is_some();
    headers.remove(CONTENT_LENGTH);
    Ok((Length::Chunked, both))
}

/// Reads the framing of a response to a request with this method; `true`: the connection must not be used again.
pub(crate) fn of_response(
    headers: &mut HeaderMap,
    version: Version,
    status: StatusCode,
    method: &Method,
) -> Result<(Length, bool), Error> {
    if !may_have_body(method, status) {
        return Ok((Length::NONE, false));
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        if version != Version::HTTP_11 {
            return Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        // Whoever sends both may mean something else by what comes next (section 6.3, 3).
        let both = headers.remove(CONTENT_LENGTH).is_some();
        return if says(headers, b"chunked") {
            Ok((Length::Chunked, both))
        } else if says(headers, b"identity") {
            // Of HTTP as it was (RFC 2616 section 4.4), and some still say it.
            Ok((Length::UntilClose, true))
        } else {
            Err(Error::Malformed("Transfer-Encoding is not chunked"))
        };
    }
    Ok(content_length(headers)?.map_or((Length::UntilClose, true), |length| (Length::Exact(length), false)))
}

/// Says whether a response has a body at all (section 6.3, 1 and 2).
pub(crate) fn may_have_body(method: &Method, status: StatusCode) -> bool {
    !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD
        || (*method == Method::CONNECT && status.is_success()))
}

/// Reads `Content-Length`; several that agree become one, in the only form that nobody reads as octal.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let length = decimal(first.as_bytes()).ok_or(Error::Malformed("Content-Length is not a number"))?;
    let mut plain = !first.as_bytes().starts_with(b"0") || first == "0";
    for other in values {
        plain = false;
        if decimal(other.as_bytes()) != Some(length) {
            return Err(Error::Malformed("several lengths that differ"));
        }
    }
    if !plain {
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

/// Says whether this is the only coding. Any other would have to be taken off here, or told to the next reader, who need not know it.
fn says(headers: &HeaderMap, coding: &[u8]) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    first.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(coding)) && values.next().is_none()
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
            (&[(te, "Chunked")], Ok((Length::Chunked, false))),
            (&[(te, "chunked"), (cl, "3")], Ok((Length::Chunked, true))),
            (&[(te, "chunked"), (cl, "3"), (cl, "3")], Ok((Length::Chunked, true))),
            (&[(te, "chunked"), (cl, "!3")], Err(())),
            (&[(te, "chunked"), (cl, "3"), (cl, "4")], Err(())),
            (&[(te, "gzip, chunked")], Err(())),
            (&[(te, "gzip"), (te, "chunked")], Err(())),
            (&[(te, "identity, chunked")], Err(())),
            (&[(te, "chunked, chunked")], Err(())),
            (&[(te, "chunked"), (te, "chunked")], Err(())),
            (&[(te, "identity"), (cl, "3")], Err(())),
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
    fn a_length_passes_on_in_one_form() {
        for (said, passed) in [("3", "3"), ("0", "0"), ("003", "3"), ("010", "10"), ("00", "0")] {
            let mut headers = headers(&[("content-length", said)]);
            of_request(&mut headers, Version::HTTP_11).unwrap();
            assert_eq!(headers[CONTENT_LENGTH], passed);
        }
    }

    #[test]
    fn a_response_has_the_length_that_its_request_and_status_allow() {
        for (fields, status, method, want) in [
            (&[("content-length", "3")][..], 200, Method::GET, Some((Length::Exact(3), false))),
            (&[("content-length", "3")], 200, Method::HEAD, Some((Length::NONE, false))),
            (&[("content-length", "3")], 304, Method::GET, Some((Length::NONE, false))),
            (&[("transfer-encoding", "chunked")], 204, Method::GET, Some((Length::NONE, false))),
            (&[], 200, Method::CONNECT, Some((Length::NONE, false))),
            (&[], 200, Method::GET, Some((Length::UntilClose, true))),
            (&[("transfer-encoding", "chunked")], 200, Method::GET, Some((Length::Chunked, false))),
            (
                &[("transfer-encoding", "chunked"), ("content-length", "3")],
                200,
                Method::GET,
                Some((Length::Chunked, true)),
            ),
            (&[("transfer-encoding", "identity")], 200, Method::GET, Some((Length::UntilClose, true))),
            (&[("transfer-encoding", "gzip")], 200, Method::GET, None),
            (&[("transfer-encoding", "gzip, chunked")], 200, Method::GET, None),
            (&[("transfer-encoding", "xchunked")], 200, Method::GET, None),
            (&[("content-length", "x")], 200, Method::GET, None),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let got = of_response(&mut headers(fields), Version::HTTP_11, status, &method).ok();
            assert_eq!(got, want, "{fields:?} {status} {method}");
        }
    }
}
