//! Paths in rules: what Gateway API allows, and nothing that two programs could read in two ways. A sidecar refuses
//! such a path too, but with it all the routes of the service.

/// Checks a path of a match, or one that takes the place of a request's.
pub(super) fn check(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("path `{path}` does not start with `/`"));
    }
    if path.len() > MAX_PATH {
        return Err(format!("path is longer than {MAX_PATH} bytes"));
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let allowed = byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte);
        match byte {
            b'%' => match (bytes.next(), bytes.next()) {
                (Some(b'2'), Some(b'f' | b'F')) => return Err(format!("path `{path}` holds an encoded slash")),
                (Some(b'5'), Some(b'c' | b'C')) => return Err(format!("path `{path}` holds an encoded backslash")),
                (Some(b'0'), Some(b'0')) => return Err(format!("path `{path}` holds an encoded NUL")),
                (Some(high), Some(low)) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
                _ => return Err(format!("path `{path}` holds a `%` without two hexadecimal digits")),
            },
            _ if allowed => {}
            _ => return Err(format!("path `{path}` holds a character that must be percent-encoded")),
        }
    }
    let dots = path.to_ascii_lowercase().replace("%2e", ".");
    // `..;x` is the parent directory for programs that take `;` for the start of parameters.
    if dots.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | ".."))) {
        return Err(format!("path `{path}` holds a dot segment"));
    }
    Ok(())
}

/// Checks what takes the place of a matched prefix, or of the whole path: nothing counts as `/`.
pub(super) fn check_replacement(path: &str) -> Result<(), String> {
    if path.is_empty() { Ok(()) } else { check(path) }
}

/// Gateway API's own limit.
const MAX_PATH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_paths_with_one_meaning() {
        for path in ["/", "/a", "/a/", "/a//b", "/v1.0/items", "/a%20b", "/.well-known/x", "/...", "/a;v=1", "/~a@b:c"]
        {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn refuses_paths_that_are_read_in_two_ways() {
        for path in [
            "",
            "a",
            "*",
            "/a/../b",
            "/..",
            "/.",
            "/%2e%2E/b",
            "/a/.%2e",
            "/..;x/b",
            "/a%2fb",
            "/a%5Cb",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a\\b",
            "/a?b",
            "/a#b",
            "/a b",
            "/ä",
            "/a\u{7f}",
        ] {
            assert!(check(path).is_err(), "{path} was accepted");
        }
    }
}
