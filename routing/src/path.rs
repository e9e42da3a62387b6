//! Paths: the one normal form that is matched, what else a path may be read as, and the Gateway API's path modifiers.
//!
//! A path that two programs may read in two ways is refused, not guessed at: what the rules saw must be what the app
//! gets. Everything that has one meaning only passes byte for byte.

use std::borrow::Cow;

use outrigger_proto::model::PathModifier;

/// Resolves dot segments (RFC 3986 section 5.2.4) and refuses what has no single meaning; called before any match.
///
/// # Errors
/// Names what is ambiguous; the request gets status 400.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, Reject> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        // `OPTIONS *` has an asterisk, CONNECT has no path (RFC 9112 section 3.2).
        return if path.is_empty() || path == "*" { Ok(Cow::Borrowed(path)) } else { Err(Reject::Relative) };
    }
    let mut dots = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => dots |= Segment::read(&bytes[at + 1..])? != Segment::Name,
            b'%' => check_escape(&bytes[at + 1..])?,
            b'\\' => return Err(Reject::Backslash),
            0..=0x1f | 0x7f | b'?' | b'#' => return Err(Reject::Character),
            _ => {}
        }
    }
    Ok(if dots { Cow::Owned(without_dots(path)) } else { Cow::Borrowed(path) })
}

/// Checks a path that a rule holds, in a match or in place of a request's: it has the one form that requests' paths have when they are
/// matched, and characters that a URI's path holds (RFC 3986 section 3.3), as the Gateway API demands.
pub(crate) fn check(path: &str) -> Result<(), String> {
    if path.len() > MAX_OF_RULE {
        return Err(format!("is longer than {MAX_OF_RULE} bytes"));
    }
    let normal = normalize(path).map_err(|reject| format!("`{path}`: {reject}"))?;
    if !normal.starts_with('/') {
        return Err(format!("`{path}`: {}", Reject::Relative));
    }
    if *normal != *path {
        return Err(format!("`{path}`: the path holds a dot segment; write `{normal}`"));
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || "%-/._~!$&'()*+,;=:@".contains(*c);
    match path.chars().find(|c| !plain(c)) {
        Some(c) => Err(format!("`{path}`: the character `{c}` must be percent-encoded")),
        None => Ok(()),
    }
}

/// Returns the new path; `prefix` is the length of what the rule's prefix matched, without a trailing `/`.
pub(crate) fn modified(modifier: &PathModifier, path: &str, prefix: usize) -> String {
    let (start, rest) = match modifier {
        PathModifier::ReplaceFull(full) => (&**full, ""),
        PathModifier::ReplacePrefix(start) => {
            // What follows a matched prefix is empty or starts with `/`, so one `/` of the replacement is too many.
            (start.strip_suffix('/').unwrap_or(start), path.get(prefix..).unwrap_or(""))
        }
    };
    if start.is_empty() && rest.is_empty() {
        return "/".to_owned();
    }
    let mut new = String::with_capacity(start.len() + rest.len());
    new.push_str(start);
    new.push_str(rest);
    new
}

/// A path that is refused where L7 rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Neither an absolute path nor `*`.
    #[error("the path does not start with `/`")]
    Relative,
    /// `%2f`: one segment for some programs, two for others.
    #[error("the path holds an encoded slash (%2f)")]
    EncodedSlash,
    /// `\` or `%5c`: a slash for some programs.
    #[error("the path holds a backslash")]
    Backslash,
    /// `%00`: the end of the text for some programs.
    #[error("the path holds an encoded NUL (%00)")]
    Nul,
    /// `%` without two hexadecimal digits.
    #[error("the path holds a `%` that is not followed by two hexadecimal digits")]
    Escape,
    /// A control character, `?` or `#`.
    #[error("the path holds a character that a path cannot hold")]
    Character,
    /// `..;x`: the parent directory for programs that take `;` for the start of parameters.
    #[error("the path holds a dot segment with parameters (`..;`)")]
    DotParameters,
}

impl Reject {
    /// Says whether the path has more than one reading, each of which is a path: see [`readings`].
    #[must_use]
    pub fn is_ambiguous(self) -> bool {
        match self {
            Self::EncodedSlash | Self::Backslash | Self::Nul | Self::Escape | Self::DotParameters => true,
            Self::Relative | Self::Character => false,
        }
    }
}

/// What programs differ in when they read a path.
type Habits = u8;
/// `%2f` is a slash.
const SLASH: Habits = 1;
/// `\` and `%5c` are slashes.
const BACKSLASH: Habits = 2;
/// `;` begins parameters, which do not belong to the segment.
const PARAMETERS: Habits = 4;
/// `%00` ends the path.
const NUL: Habits = 8;
/// `%uXXXX` is a character.
const UNICODE: Habits = 16;

/// Returns all readings of a path that is ambiguous, in normal form; the first one takes nothing for what it might stand for, and is what the
/// app gets.
pub fn readings(path: &str) -> impl Iterator<Item = String> {
    let has = |texts: &[&str]| texts.iter().any(|text| path.contains(text));
    let unicode = has(&["%u", "%U"]);
    let mut differ = 0;
    for (habit, present) in [
        (SLASH, has(&["%2f", "%2F"])),
        (BACKSLASH, unicode || has(&["\\", "%5c", "%5C"])),
        (PARAMETERS, unicode || has(&[";", "%3b", "%3B"])),
        (NUL, has(&["%00"])),
        (UNICODE, unicode),
    ] {
        differ |= if present { habit } else { 0 };
    }
    let combined = (0..=differ).filter(move |habits| habits & !differ == 0);
    combined.map(|habits| without_dots(&read(path, habits)))
}

/// Returns what a path with dot segments is for programs that resolve none of them, or none that is encoded.
pub fn unresolved(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let encoded = ["%2e", "%2E"].iter().any(|dot| path.contains(dot));
    let plain = encoded.then(|| Cow::Owned(without(path, Segment::plain)));
    std::iter::once(Cow::Borrowed(path)).chain(plain)
}

/// Reads a path as programs with these habits do.
fn read(path: &str, habits: Habits) -> String {
    let has = |habit| habits & habit != 0;
    let mut out = String::with_capacity(path.len());
    let mut parameters = false;
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let (read, length) = match escaped(rest) {
            Some((0, _)) if has(NUL) => break,
            Some((b'/', 3)) if has(SLASH) => ('/', 3),
            Some((b'\\', 3)) if has(BACKSLASH) => ('/', 3),
            Some((b';', 3)) if has(PARAMETERS) => (';', 3),
            Some((b'/' | b'\\', 6)) if has(UNICODE) => ('/', 6),
            Some((byte, 6)) if has(UNICODE) => (char::from(byte), 6),
            _ if first == '\\' && has(BACKSLASH) => ('/', 1),
            _ => (first, first.len_utf8()),
        };
        rest = &rest[length..];
        parameters = read != '/' && (parameters || read == ';' && has(PARAMETERS));
        if !parameters {
            out.push(read);
        }
    }
    out
}

/// Reads `%XX` or `%u00XX` at the start of `rest`; returns how long it is, too.
fn escaped(rest: &str) -> Option<(u8, usize)> {
    let rest = rest.strip_prefix('%')?;
    let (digits, length) = match rest.strip_prefix("u00").or_else(|| rest.strip_prefix("U00")) {
        Some(rest) => (rest, 6),
        None => (rest, 3),
    };
    let byte =
        u8::from_str_radix(digits.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))?, 16).ok()?;
    byte.is_ascii().then_some((byte, length))
}

/// What a path segment is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Name,
    Dot,
    DotDot,
}

impl Segment {
    /// Reads a segment as programs do that know no escapes.
    fn plain(segment: &str) -> Self {
        match segment {
            "." => Self::Dot,
            ".." => Self::DotDot,
            _ => Self::Name,
        }
    }

    /// Reads the segment at the start of `rest`.
    fn read(rest: &[u8]) -> Result<Self, Reject> {
        let mut dots = 0;
        let mut rest = rest;
        loop {
            match rest {
                [b'.', ..] => rest = &rest[1..],
                [b'%', b'2', b'e' | b'E', ..] => rest = &rest[3..],
                _ => break,
            }
            dots += 1;
        }
        let kind = match dots {
            1 => Self::Dot,
            2 => Self::DotDot,
            _ => return Ok(Self::Name),
        };
        match rest.first() {
            None | Some(b'/') => Ok(kind),
            Some(b';') => Err(Reject::DotParameters),
            Some(_) => Ok(Self::Name),
        }
    }
}

fn check_escape(rest: &[u8]) -> Result<(), Reject> {
    let [high, low, ..] = rest else { return Err(Reject::Escape) };
    match (high, low) {
        (b'2', b'f' | b'F') => Err(Reject::EncodedSlash),
        (b'5', b'c' | b'C') => Err(Reject::Backslash),
        (b'0', b'0') => Err(Reject::Nul),
        _ if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Ok(()),
        _ => Err(Reject::Escape),
    }
}

fn without_dots(path: &str) -> String {
    without(path, |segment| Segment::read(segment.as_bytes()).unwrap_or(Segment::Name))
}

fn without(path: &str, read: impl Fn(&str) -> Segment) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let kind = read(segment);
        if kind == Segment::Name {
            out.push('/');
            out.push_str(segment);
            continue;
        }
        if kind == Segment::DotDot {
            out.truncate(out.rfind('/').unwrap_or(0));
        }
        // `/a/..` names the directory: `/`, not the empty path.
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    out
}

/// The Gateway API's own limit.
const MAX_OF_RULE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_may_hold_a_path_with_one_meaning() {
        let longest = format!("/{}", "x".repeat(1023));
        for path in [
            "/",
            "/a",
            "/a/",
            "/a//b",
            "/v1.0/items",
            "/a%20b",
            "/.well-known/x",
            "/...",
            "/a;v=1",
            "/~a@b:c",
            &longest,
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_rule_may_not_hold_a_path_that_is_read_in_two_ways() {
        let too_long = format!("/{}", "x".repeat(1024));
        for (path, problem) in [
            ("", "does not start with `/`"),
            ("a", "does not start with `/`"),
            ("*", "does not start with `/`"),
            ("/a/../b", "a dot segment; write `/b`"),
            ("/..", "a dot segment; write `/`"),
            ("/.", "a dot segment; write `/`"),
            ("/%2e%2E/b", "a dot segment; write `/b`"),
            ("/a/.%2e", "a dot segment; write `/`"),
            ("/..;x/b", "a dot segment with parameters"),
            ("/a%2fb", "an encoded slash"),
            ("/a%5Cb", "a backslash"),
            ("/a%00", "an encoded NUL"),
            ("/a%", "not followed by two hexadecimal digits"),
            ("/a%2", "not followed by two hexadecimal digits"),
            ("/a%zz", "not followed by two hexadecimal digits"),
            ("/a\\b", "a backslash"),
            ("/a?b", "a path cannot hold"),
            ("/a#b", "a path cannot hold"),
            ("/a b", "the character ` ` must be percent-encoded"),
            ("/ä", "the character `ä` must be percent-encoded"),
            ("/a\u{7f}", "a path cannot hold"),
            (&too_long, "longer than 1024 bytes"),
        ] {
            let error = check(path).unwrap_err();
            assert!(error.contains(problem), "{path}: {error}");
        }
    }

    #[test]
    fn an_ambiguous_path_has_all_readings_that_programs_give_it() {
        for (path, want) in [
            ("/a%2Fb", &["/a%2Fb", "/a/b"][..]),
            ("/a%2f..%2fb", &["/a%2f..%2fb", "/b"]),
            ("/a\\..\\b", &["/a\\..\\b", "/b"]),
            ("/a%5c..%5Cb", &["/a%5c..%5Cb", "/b"]),
            ("/a/..;x/b", &["/a/..;x/b", "/b"]),
            ("/a/..%3bx/b", &["/a/..%3bx/b", "/b"]),
            ("/a%00/b", &["/a%00/b", "/a"]),
            ("/100%", &["/100%"]),
            ("/a/../b%2fc", &["/b%2fc", "/b/c"]),
            ("/a%2f..;/b", &["/a%2f..;/b", "/a/..;/b", "/a%2f../b", "/b"]),
        ] {
            let read: Vec<_> = readings(path).collect();
            assert_eq!(read, want, "{path}");
        }
        assert!(readings("/a/%u002e%u002e%u002fb").any(|reading| reading == "/b"));
        assert!(readings("/a/..%u003bx%u005cb").any(|reading| reading == "/b"));
    }

    #[test]
    fn dot_segments_may_be_read_as_names() {
        for (path, want) in [
            ("/a/../b", &["/a/../b"][..]),
            ("/a/%2e%2E/b", &["/a/%2e%2E/b", "/a/%2e%2E/b"]),
            ("/x/../admin/%2e%2e/b", &["/x/../admin/%2e%2e/b", "/admin/%2e%2e/b"]),
        ] {
            assert_eq!(unresolved(path).collect::<Vec<_>>(), want, "{path}");
        }
    }

    #[test]
    fn resolves_dot_segments_and_keeps_all_else() {
        for (path, want) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/a//b", "/a//b"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/caf%C3%A9/%7Euser", "/caf%C3%A9/%7Euser"),
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/.hidden/..x/...", "/.hidden/..x/..."),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/.//a", "//a"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn borrows_a_path_that_is_normal_already() {
        assert!(matches!(normalize("/items/7"), Ok(Cow::Borrowed("/items/7"))));
    }

    #[test]
    fn refuses_what_apps_read_in_two_ways() {
        for (path, want) in [
            ("a", Reject::Relative),
            ("**", Reject::Relative),
            ("/a%2fb", Reject::EncodedSlash),
            ("/a%2Fb", Reject::EncodedSlash),
            ("/a\\b", Reject::Backslash),
            ("/a%5Cb", Reject::Backslash),
            ("/a%5cb", Reject::Backslash),
            ("/a%00", Reject::Nul),
            ("/a%", Reject::Escape),
            ("/a%4", Reject::Escape),
            ("/a%zz", Reject::Escape),
            ("/a\u{1}", Reject::Character),
            ("/a#b", Reject::Character),
            ("/a/..;/b", Reject::DotParameters),
            ("/a/%2e.;x/b", Reject::DotParameters),
            ("/a/.;x", Reject::DotParameters),
        ] {
            assert_eq!(normalize(path), Err(want), "{path}");
        }
    }

    // The table of HTTPPathModifier.replacePrefixMatch in the Gateway API, in its order, and what it leaves open.
    #[test]
    fn replaces_a_prefix_as_the_gateway_api_says() {
        for (path, prefix, replacement, want) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo", "/", "/xyz", "/xyz/foo"),
            ("/", "/", "/xyz", "/xyz/"),
        ] {
            let matched = prefix.trim_end_matches('/').len();
            let new = modified(&PathModifier::ReplacePrefix(replacement.into()), path, matched);
            assert_eq!(new, want, "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn replaces_the_full_path() {
        assert_eq!(modified(&PathModifier::ReplaceFull("/new".into()), "/old/x", 4), "/new");
        assert_eq!(modified(&PathModifier::ReplaceFull("".into()), "/old/x", 4), "/");
    }
}
