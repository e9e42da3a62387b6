//! Fields as they were written: the case of their names, and their order. Both mean nothing to HTTP, and yet there are programs that go by them.
//!
//! A field's value is a slice of the head that it came in, and its name stands before it there. So nothing has to be kept for each field: whoever
//! has the head finds what was written where the value lies. A field that has been changed on the way has its value elsewhere; it is written in
//! lower case, after the others.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// A field to be written.
pub(super) struct Field<'a> {
    /// Where it stood in the head.
    at: usize,
    /// Its name as it was written.
    pub(super) written: &'a [u8],
    pub(super) name: &'a HeaderName,
    pub(super) value: &'a HeaderValue,
}

/// Hands each field to `write` in the order of the map, as long as that is the order of the head that they came in; says whether it is that of all.
pub(super) fn in_order<'a>(head: &'a [u8], headers: &'a HeaderMap, mut write: impl FnMut(Field<'a>)) -> bool {
    let mut last = 0;
    find_all(head, headers).all(|field| {
        let follows = field.at >= last;
        last = field.at;
        if follows {
            write(field);
        }
        follows
    })
}

/// Hands each field to `write`, in the order of the head that they came in, as far as that is where they are from. The map brings repeated
/// names together, and fills the place of one that was removed with the last.
pub(super) fn sorted<'a>(head: &'a [u8], headers: &'a HeaderMap, write: impl FnMut(Field<'a>)) {
    let mut all: Vec<Field<'a>> = find_all(head, headers).collect();
    all.sort_by_key(|field| field.at);
    all.into_iter().for_each(write);
}

fn find_all<'a>(head: &'a [u8], headers: &'a HeaderMap) -> impl Iterator<Item = Field<'a>> {
    let mut empty = None;
    headers.iter().map(move |(name, value)| {
        let found = if value.is_empty() {
            named(empty.get_or_insert_with(|| without_value(head)), name)
        } else {
            before(head, name, value)
        };
        let (at, written) = found.unwrap_or((usize::MAX, name.as_str().as_bytes()));
        Field { at, written, name, value }
    })
}

/// Finds the name that stands before a value.
fn before<'a>(head: &'a [u8], name: &HeaderName, value: &HeaderValue) -> Option<(usize, &'a [u8])> {
    let at = (value.as_bytes().as_ptr() as usize).checked_sub(head.as_ptr() as usize)?;
    let before = head.get(..at).filter(|_| at + value.len() <= head.len())?;
    let colon = before.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'))?;
    is_name(head, colon.checked_sub(name.as_str().len())?, name)
}

/// Finds the fields without a value, which lie nowhere, by one look at the head for all of them: names, and where they stand. They are sorted by name.
fn without_value(head: &[u8]) -> Vec<(&[u8], usize)> {
    let mut start = 0;
    let mut found = Vec::new();
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if let Some(name) = line.trim_ascii_end().strip_suffix(b":") {
            found.push((name, start));
        }
        start += line.len();
    }
    found.sort_unstable_by(|(name, at), (other, other_at)| lower(name).cmp(lower(other)).then(at.cmp(other_at)));
    found
}

/// Finds the first line with this name and no value.
fn named<'a>(empty: &[(&'a [u8], usize)], name: &HeaderName) -> Option<(usize, &'a [u8])> {
    let wanted = name.as_str().as_bytes();
    let place = empty.partition_point(|(name, _)| lower(name).lt(lower(wanted)));
    let (written, at) = empty.get(place)?;
    written.eq_ignore_ascii_case(wanted).then_some((*at, *written))
}

fn lower(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter().map(u8::to_ascii_lowercase)
}

/// Returns the name that is written at `start`, if it is this one and a colon follows.
fn is_name<'a>(head: &'a [u8], start: usize, name: &HeaderName) -> Option<(usize, &'a [u8])> {
    let name = name.as_str().as_bytes();
    let written = head.get(start..start + name.len())?;
    let colon = head.get(start + name.len()) == Some(&b':');
    (colon && written.eq_ignore_ascii_case(name)).then_some((start, written))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn written(headers: &HeaderMap, head: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        sorted(head, headers, |field| {
            all.push(format!("{}: {}", String::from_utf8_lossy(field.written), field.value.to_str().unwrap()));
        });
        let mut begun = 0;
        let all_in_order = in_order(head, headers, |_| begun += 1);
        assert_eq!(all_in_order, begun == all.len());
        all
    }

    fn read(head: &Bytes) -> HeaderMap {
        let text = std::str::from_utf8(head).unwrap();
        let mut headers = HeaderMap::new();
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_maybe_shared(head.slice_ref(value.trim().as_bytes())).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn fields_keep_their_case_and_order() {
        let head = Bytes::from_static(
            b"GET / HTTP/1.1\r\nHost: a\r\nX-API-Key:1\r\nx-Dup: a\r\nX-Empty:\r\nX-OTHER:\tb\r\nX-dup: c\r\n\r\n",
        );
        let mut headers = read(&head);
        let all = ["Host: a", "X-API-Key: 1", "x-Dup: a", "X-Empty: ", "X-OTHER: b", "X-dup: c"];
        assert_eq!(written(&headers, &head), all);

        headers.remove("host");
        headers.insert("x-other", HeaderValue::from_static("changed"));
        headers.insert("x-new", HeaderValue::from_static("new"));
        assert_eq!(
            written(&headers, &head),
            ["X-API-Key: 1", "x-Dup: a", "X-Empty: ", "X-dup: c", "x-other: changed", "x-new: new"]
        );
    }

    #[test]
    fn fields_without_a_value_are_found_by_their_names() {
        let head = Bytes::from_static(b"GET / HTTP/1.1\r\nX-B:\r\nx-a: \r\nX-AB:\r\nx-A:\r\nX-C: y\r\n\r\n");
        let mut headers = read(&head);
        headers.insert("x", HeaderValue::from_static(""));
        // Of one name all are told as the first was written.
        assert_eq!(written(&headers, &head), ["X-B: ", "x-a: ", "x-a: ", "X-AB: ", "X-C: y", "x: "]);
    }

    #[test]
    fn a_value_from_elsewhere_has_no_place() {
        let head = Bytes::from_static(b"GET / HTTP/1.1\r\nA: b\r\n\r\n");
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("b"));
        // Of a value that stands behind another name only the place is true.
        headers.insert("c", HeaderValue::from_maybe_shared(head.slice(19..20)).unwrap());
        assert_eq!(written(&headers, &head), ["a: b", "c: b"]);
        assert_eq!(written(&headers, b""), ["a: b", "c: b"]);
    }
}
