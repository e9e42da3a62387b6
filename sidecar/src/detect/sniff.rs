//! Which protocol a client's first bytes begin. Pure.

/// The start of every HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method that is taken for one.
const METHOD: usize = 24;

/// A line that is longer and has looked like a request line so far is one.
const LINE: usize = 8 * 1024;

/// Content type of a TLS record.
const HANDSHAKE: u8 = 0x16;

/// What a record that is not encrypted may carry, bytes.
const LONGEST_RECORD: u16 = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Http1,
    Http2,
    Tls,
    /// None of them.
    Other,
    /// Could still be HTTP, or TLS.
    More,
}

/// Looks at a client's first bytes.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict {
    // An empty line may precede a request line (RFC 9112 section 2.2).
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    match bytes {
        [] | b"\r" => return Verdict::More,
        [HANDSHAKE, rest @ ..] => return record(rest),
        _ => {}
    }
    if bytes.starts_with(PREFACE) {
        return Verdict::Http2;
    }
    if PREFACE.starts_with(bytes) {
        return Verdict::More;
    }
    request_line(bytes)
}

/// Looks at what follows the type of a handshake record: the version, SSL 3.0 or TLS 1.x, and the length (RFC 8446 section 5.1). Every
/// TLS library sends these four bytes and what comes next in one write; other protocols have messages that are no longer.
fn record(rest: &[u8]) -> Verdict {
    match rest {
        [] | [3] | [3, 0..=4] => Verdict::More,
        [3, 0..=4, high] if u16::from(*high) <= LONGEST_RECORD >> 8 => Verdict::More,
        [3, 0..=4, high, low, ..] if (1..=LONGEST_RECORD).contains(&u16::from_be_bytes([*high, *low])) => Verdict::Tls,
        _ => Verdict::Other,
    }
}

fn request_line(bytes: &[u8]) -> Verdict {
    let Some(space) = bytes.iter().take(METHOD + 1).position(|b| *b == b' ') else {
        let method = bytes.iter().all(|b| is_method(*b)) && bytes.len() <= METHOD;
        return if method { Verdict::More } else { Verdict::Other };
    };
    let (method, rest) = (&bytes[..space], &bytes[space + 1..]);
    if method.is_empty() || !method.iter().all(|b| is_method(*b)) {
        return Verdict::Other;
    }
    let target_starts = match rest.first() {
        None => return Verdict::More,
        // origin-form, asterisk-form, absolute-form; authority-form only with CONNECT (RFC 9112 section 3.2).
        Some(b'/' | b'*' | b'h' | b'H') => true,
        Some(_) => method == b"CONNECT",
    };
    if !target_starts {
        return Verdict::Other;
    }
    let end = rest.iter().position(|b| *b == b'\n');
    // Looked at before the line's end is, which may come later.
    let line = &rest[..end.unwrap_or(rest.len())];
    if line.iter().take(LINE).any(|b| *b < b' ' && *b != b'\r' || *b == 0x7f) {
        return Verdict::Other;
    }
    if end.is_none() {
        return if line.len() > LINE { Verdict::Http1 } else { Verdict::More };
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.len().checked_sub(9).map(|at| &line[at..]);
    if version.is_some_and(|v| v.starts_with(b" HTTP/1.")) { Verdict::Http1 } else { Verdict::Other }
}

fn is_method(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_protocols_by_their_first_bytes() {
        let long = format!("GET /{} ", "x".repeat(9000));
        let cases: &[(&[u8], Verdict)] = &[
            (b"", Verdict::More),
            (b"G", Verdict::More),
            (b"GET /", Verdict::More),
            (b"GET / HTTP/1.1\r", Verdict::More),
            (b"GET / HTTP/1.1\r\n", Verdict::Http1),
            (b"GET / HTTP/1.0\n", Verdict::Http1),
            (b"\r\nGET / HTTP/1.1\r\n", Verdict::Http1),
            (b"M-SEARCH * HTTP/1.1\r\n", Verdict::Http1),
            (b"CONNECT a:443 HTTP/1.1\r\n", Verdict::Http1),
            (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Verdict::Http1),
            (long.as_bytes(), Verdict::Http1),
            (b"PRI", Verdict::More),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Verdict::Http2),
            (b"PRI / HTTP/1.1\r\n", Verdict::Http1),
            (b"\x16", Verdict::More),
            (b"\x16\x03", Verdict::More),
            (b"\x16\x03\x01", Verdict::More),
            (b"\x16\x03\x01\x00", Verdict::More),
            (b"\x16\x03\x01\x00\x01", Verdict::Tls),
            (b"\x16\x03\x03\x40\x00\x01", Verdict::Tls),
            (b"\x16\x03\x01\x00\x00", Verdict::Other),
            (b"\x16\x03\x01\x40\x01", Verdict::Other),
            (b"\x16\x03\x01\x41", Verdict::Other),
            (b"\x16\x03\x05", Verdict::Other),
            (b"\x16\x05GET", Verdict::Other),
            (b"*1\r\n$4\r\nPING\r\n", Verdict::Other), // Redis
            (b"PING\r\n", Verdict::Other),
            (b"GET key\r\n", Verdict::Other),
            (b"GET /key\r\n", Verdict::Other),
            (b"get key\r\n", Verdict::Other),                // memcached
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Verdict::Other), // PostgreSQL
            (b"SSH-2.0-x\r\n", Verdict::Other),
            (b"EHLO example.org\r\n", Verdict::Other),
            (b"GET /\x01", Verdict::Other),
            (b"GET /\x01 HTTP/1.1\r\n", Verdict::Other),
            (&[b'A'; 30], Verdict::Other),
            (b"\xff\xfb", Verdict::Other),
        ];
        for (bytes, verdict) in cases {
            assert_eq!(sniff(bytes), *verdict, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_verdict_never_changes_with_more_bytes() {
        let texts: &[&[u8]] = &[
            b"GET /a HTTP/1.1\r\nHost: a\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx",
            b"GET /key\r\nfoo",
            b"*1\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"\x16\x03\x01\x00\x00\x01",
            b"\x16\x03\x01\x7f\xff\x01",
        ];
        for text in texts {
            let mut settled = Verdict::More;
            for end in 0..=text.len() {
                let verdict = sniff(&text[..end]);
                assert!(settled == Verdict::More || verdict == settled, "{} at {end}", text.escape_ascii());
                settled = verdict;
            }
        }
    }
}
