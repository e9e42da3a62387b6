//! The normal form of paths against RFC 3986 section 5.2.4, done as it is written, and against the ways in which programs read paths.

use outrigger_routing::normalize;

/// Runs the target.
///
/// # Panics
/// When the normal form is another, or has a second meaning.
pub fn run(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let Ok(normal) = normalize(path) else {
        assert!(!is_plain(path), "refused: {path}");
        return;
    };
    assert_eq!(normalize(&normal).as_deref(), Ok(&*normal), "the normal form of {path} has another");
    if !path.starts_with('/') {
        assert_eq!(normal, path, "what is no path is changed");
        return;
    }
    assert_eq!(normal, remove_dot_segments(path), "the normal form of {path}");
    assert!(!normal.bytes().any(|byte| byte < b' ' || matches!(byte, b'?' | b'#' | b'\\' | 0x7f)), "{normal:?}");
    for read in [decode, |path: &str| decode(path).replace('\\', "/"), without_parameters] {
        let read = read(&normal);
        assert!(read.split('/').all(|segment| segment != "." && segment != ".."), "{normal:?} is read as {read:?}");
    }
    let slashes = |path: &str| path.matches('/').count();
    assert_eq!(slashes(&decode(&normal)), slashes(&normal), "{normal:?} has other segments when it is decoded");
}

/// Whether no program could take it for two paths.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte))
}

/// The algorithm of RFC 3986 section 5.2.4, where an encoded dot is a dot (section 6.2.2.2) in what is nothing but dots.
fn remove_dot_segments(path: &str) -> String {
    let segments = path.split('/').map(|segment| {
        let decoded = segment.replace("%2e", ".").replace("%2E", ".");
        if decoded == "." || decoded == ".." { decoded } else { segment.to_owned() }
    });
    let mut input = segments.collect::<Vec<_>>().join("/");
    let mut output = String::new();
    while !input.is_empty() {
        if input.starts_with("/./") {
            input.replace_range(..2, "");
        } else if input == "/." {
            "/".clone_into(&mut input);
        } else if input.starts_with("/../") || input == "/.." {
            input.replace_range(..3, if input == "/.." { "/" } else { "" });
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.replace_range(..end, "");
        }
    }
    output
}

/// As a program reads it that undoes escapes before it looks for slashes.
fn decode(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As a program reads it for which `;` begins parameters.
fn without_parameters(path: &str) -> String {
    path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("/")
}
