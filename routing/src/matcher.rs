//! Conditions of a match on texts, headers and query parameters. Nothing here allocates once its buffers are warm.

use std::cell::RefCell;

use http::header::{self, HeaderName};
use outrigger_proto::model::{Match, StringMatch};
use regex::bytes::{Regex, RegexBuilder};

use crate::{CompileError, RequestView};

/// A condition on a text.
#[derive(Debug)]
pub(crate) enum TextMatcher {
    Exact(Box<[u8]>),
    Regex(Regex),
}

impl TextMatcher {
    pub(crate) fn compile(text: &StringMatch) -> Result<Self, CompileError> {
        match text {
            StringMatch::Exact(text) => Ok(Self::Exact(text.as_bytes().into())),
            StringMatch::Regex(pattern) => compile_regex(pattern).map(Self::Regex),
        }
    }

    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(want) => **want == *text,
            // A value that is not UTF-8 is not a text that a pattern was written for.
            Self::Regex(regex) => regex.is_match(text) && std::str::from_utf8(text).is_ok(),
        }
    }
}

/// Compiles a pattern that must match the whole text.
///
/// Classes such as `\d` are ASCII: URLs and most headers are, and Unicode's tables would be most of the program.
pub(crate) fn compile_regex(pattern: &str) -> Result<Regex, CompileError> {
    let build = |anchored: &str| {
        RegexBuilder::new(anchored)
            .unicode(false)
            .size_limit(REGEX_PROGRAM_BYTES)
            .dfa_size_limit(REGEX_CACHE_BYTES)
            .build()
            .map_err(|e| CompileError::at("value", format_args!("`{pattern}` {}", one_line(&e))))
    };
    // Alone first: `a)|(b` is no pattern, but would become one between the anchors.
    if pattern.contains(')') {
        build(pattern)?;
    }
    build(&format!("^(?:{pattern})$"))
}

fn one_line(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("compiles to more than {limit} bytes: repeat fewer times"),
        // The crate draws the pattern with a marker on lines of its own; the last line says what is wrong.
        other => {
            let text = other.to_string();
            let reason = text.lines().last().unwrap_or_default().trim();
            format!("is not a regular expression: {}", reason.strip_prefix("error: ").unwrap_or(reason))
        }
    }
}

/// A condition on a header.
#[derive(Debug)]
pub(crate) struct HeaderMatcher {
    name: HeaderName,
    value: TextMatcher,
}

impl HeaderMatcher {
    /// Compiles a match's header conditions; of several for one name the first counts (Gateway API).
    pub(crate) fn compile_all(of: &Match) -> Result<Box<[Self]>, CompileError> {
        let mut all: Vec<Self> = Vec::with_capacity(of.headers.len());
        for (index, (name, value)) in of.headers.iter().enumerate() {
            let value = TextMatcher::compile(value).map_err(|e| e.within(format_args!("headers[{index}]")))?;
            if all.iter().all(|header| header.name != *name) {
                all.push(Self { name: name.clone(), value });
            }
        }
        Ok(all.into())
    }

    pub(crate) fn matches(&self, request: &RequestView<'_>) -> bool {
        with_header(&self.name, request, |value| self.value.matches(value)).unwrap_or(false)
    }

    /// The header's name and the only value that meets the condition, when there is only one.
    pub(crate) fn exact(&self) -> Option<(&HeaderName, &[u8])> {
        match &self.value {
            TextMatcher::Exact(value) => Some((&self.name, value)),
            TextMatcher::Regex(_) => None,
        }
    }
}

/// Calls `use_it` with what a header of the request says; `None`: the request does not have it.
pub(crate) fn with_header<R>(
    name: &HeaderName,
    request: &RequestView<'_>,
    use_it: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    // A request target's authority takes the place of Host (RFC 9112 section 3.2.2); HTTP/2 has nothing else.
    if *name == header::HOST
        && let Some(authority) = request.authority
    {
        return Some(use_it(authority.as_bytes()));
    }
    let mut values = request.headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_none() {
        return Some(use_it(first.as_bytes()));
    }
    // HTTP/2 clients send one cookie a line (RFC 9113 section 8.2.3).
    let separator: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
    // All lines are one value, so that no line can hide behind another.
    Some(with_scratch(|joined| {
        for (index, line) in request.headers.get_all(name).iter().enumerate() {
            if index > 0 {
                joined.extend_from_slice(separator);
            }
            joined.extend_from_slice(line.as_bytes());
        }
        use_it(joined)
    }))
}

/// A condition on a query parameter.
#[derive(Debug)]
pub(crate) struct QueryMatcher {
    name: Box<[u8]>,
    value: TextMatcher,
}

impl QueryMatcher {
    /// Compiles a match's query conditions; of several for one name the first counts (Gateway API).
    pub(crate) fn compile_all(of: &Match) -> Result<Box<[Self]>, CompileError> {
        let mut all: Vec<Self> = Vec::with_capacity(of.query.len());
        for (index, (name, value)) in of.query.iter().enumerate() {
            let value = TextMatcher::compile(value).map_err(|e| e.within(format_args!("queryParams[{index}]")))?;
            if all.iter().all(|parameter| *parameter.name != *name.as_bytes()) {
                all.push(Self { name: name.as_bytes().into(), value });
            }
        }
        Ok(all.into())
    }

    /// The first value of a repeated parameter counts (Gateway API).
    pub(crate) fn matches(&self, request: &RequestView<'_>) -> bool {
        let Some(query) = request.query else { return false };
        for pair in query.as_bytes().split(|byte| *byte == b'&') {
            let split = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = split.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
            if with_decoded(name, |name| *name == *self.name) {
                return with_decoded(value, |value| self.value.matches(value));
            }
        }
        false
    }
}

/// Calls `use_it` with `text` after percent-decoding; `+` stays `+`, and a broken escape stays as it is.
fn with_decoded<R>(text: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> R {
    if !text.contains(&b'%') {
        return use_it(text);
    }
    with_scratch(|decoded| {
        let mut rest = text;
        while let [first, tail @ ..] = rest {
            let escaped = match rest {
                [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
                _ => None,
            };
            match escaped {
                Some((high, low)) => {
                    decoded.push(high << 4 | low);
                    rest = &rest[3..];
                }
                None => {
                    decoded.push(*first);
                    rest = tail;
                }
            }
        }
        use_it(decoded)
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Calls `use_it` with an empty buffer of this thread.
fn with_scratch<R>(use_it: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with(|scratch| {
        let mut buffer = scratch.take();
        buffer.clear();
        let result = use_it(&mut buffer);
        // One giant header must not keep its memory for ever.
        buffer.shrink_to(SCRATCH_BYTES);
        scratch.replace(buffer);
        result
    })
}

/// A program this size holds any pattern a person writes; `(a{100}){100}` is beyond it.
const REGEX_PROGRAM_BYTES: usize = 64 * 1024;
/// For the automaton that is built while matching; per pattern and thread.
const REGEX_CACHE_BYTES: usize = 64 * 1024;
const SCRATCH_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use http::{HeaderMap, Method};

    use super::*;

    fn exact(text: &str) -> StringMatch {
        StringMatch::Exact(text.into())
    }

    fn regex(pattern: &str) -> StringMatch {
        StringMatch::Regex(pattern.into())
    }

    fn query_matches(query: &str, name: &str, value: StringMatch) -> bool {
        let of = Match { query: vec![(name.into(), value)], ..Match::default() };
        let headers = HeaderMap::new();
        let request =
            RequestView { method: &Method::GET, path: "/", query: Some(query), authority: None, headers: &headers };
        QueryMatcher::compile_all(&of).unwrap().iter().all(|query| query.matches(&request))
    }

    fn header_matches(lines: &[(&str, &[u8])], name: &str, value: StringMatch) -> bool {
        let of = Match { headers: vec![(name.parse().unwrap(), value)], ..Match::default() };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let request =
            RequestView { method: &Method::GET, path: "/", query: None, authority: Some("web:80"), headers: &headers };
        HeaderMatcher::compile_all(&of).unwrap().iter().all(|header| header.matches(&request))
    }

    #[test]
    fn compares_query_parameters() {
        for (query, name, value, want) in [
            ("animal=whale", "animal", exact("whale"), true),
            ("x=1&animal=whale&y", "animal", exact("whale"), true),
            ("animal=Whale", "animal", exact("whale"), false),
            ("Animal=whale", "animal", exact("whale"), false),
            ("animal=whaledolphin", "animal", exact("whale"), false),
            ("animal=dog&animal=whale", "animal", exact("whale"), false),
            ("animal=whale&animal=dog", "animal", exact("whale"), true),
            ("", "animal", exact(""), false),
            ("animal", "animal", exact(""), true),
            ("animal=", "animal", exact(""), true),
            ("a=b=c", "a", exact("b=c"), true),
            ("%61nimal=wh%61le", "animal", exact("whale"), true),
            ("q=a%20b", "q", exact("a b"), true),
            ("q=a%26b%3d", "q", exact("a&b="), true),
            ("q=a+b", "q", exact("a+b"), true),
            ("q=100%", "q", exact("100%"), true),
            ("q=%zz%4", "q", exact("%zz%4"), true),
            ("q=%C3%A9", "q", exact("é"), true),
            ("v=12", "v", regex("[0-9]+"), true),
            ("v=12x", "v", regex("[0-9]+"), false),
            ("v=%31%32", "v", regex("[0-9]+"), true),
            ("v=%ff", "v", regex(".*"), false),
        ] {
            assert_eq!(query_matches(query, name, value.clone()), want, "{query} {name} {value:?}");
        }
    }

    #[test]
    fn compares_headers() {
        let one: &[(&str, &[u8])] = &[("x-a", b"1")];
        let two: &[(&str, &[u8])] = &[("x-a", b"1"), ("x-a", b"2")];
        let raw: &[(&str, &[u8])] = &[("x-a", b"\x80")];
        let crumbs: &[(&str, &[u8])] = &[("cookie", b"a=1"), ("cookie", b"canary=yes")];
        for (lines, name, value, want) in [
            (one, "X-A", exact("1"), true),
            (one, "x-b", exact("1"), false),
            (one, "x-b", regex(".*"), false),
            (one, "x-a", exact(""), false),
            (two, "x-a", exact("1"), false),
            (two, "x-a", exact("2"), false),
            (two, "x-a", exact("1,2"), true),
            (two, "x-a", regex("1"), false),
            (two, "x-a", regex("1,2"), true),
            (raw, "x-a", regex(".*"), false),
            (raw, "x-a", regex(".?"), false),
            (crumbs, "cookie", regex(".*canary=yes.*"), true),
            (crumbs, "cookie", exact("a=1; canary=yes"), true),
            (one, "host", exact("web:80"), true),
            (&[("host", b"other")], "host", exact("other"), false),
        ] {
            assert_eq!(header_matches(lines, name, value.clone()), want, "{lines:?} {name} {value:?}");
        }
    }

    #[test]
    fn the_first_of_several_conditions_on_one_name_counts() {
        let name = HeaderName::from_static("x-a");
        let of = Match {
            headers: vec![(name.clone(), exact("1")), (name, exact("2"))],
            query: vec![("q".into(), exact("1")), ("q".into(), exact("2"))],
            ..Match::default()
        };
        assert_eq!(HeaderMatcher::compile_all(&of).unwrap().len(), 1);
        assert_eq!(QueryMatcher::compile_all(&of).unwrap().len(), 1);
    }

    #[test]
    fn a_regex_matches_the_whole_text() {
        for (pattern, text, want) in [
            ("a|b", "a", true),
            ("a|b", "ab", false),
            ("/v[0-9]+/.*", "/v12/items", true),
            ("/v[0-9]+/.*", "x/v12/items", false),
            (r"\d+", "42", true),
            ("(?i)get", "GeT", true),
            ("a", "a\n", false),
            ("", "", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
        ] {
            assert_eq!(compile_regex(pattern).unwrap().is_match(text.as_bytes()), want, "{pattern} {text}");
        }
    }

    #[test]
    fn refuses_a_regex_that_is_broken_or_too_big() {
        for (pattern, want) in [
            ("a)|(b", "unopened group"),
            ("(", "unclosed group"),
            ("[", "unclosed character class"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?=a)", "look-around"),
            ("(a{200}){200}", "compiles to more than 65536 bytes"),
        ] {
            let error = compile_regex(pattern).unwrap_err();
            assert!(error.problem.contains(want), "{pattern}: {}", error.problem);
            assert!(!error.problem.contains('\n'), "{pattern}");
        }
    }
}
