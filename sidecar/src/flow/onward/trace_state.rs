//! The mesh's member of `tracestate`: by it an app that passes trace context on tells its sidecar for which request it makes another one.
//!
//! The member is a number that means something to the process that wrote it, and to it alone. It stands between a sidecar and its own app: it is
//! taken out again on the way to anybody else. Only a list that follows the rules (W3C Trace Context section 3.3) is touched.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::trace_context::has_trace_parent;

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The member's key.
const KEY: &str = "outrigger";

/// Members that a list may have.
const MEMBERS: usize = 32;

/// Characters that whoever passes a list on has to keep.
const CHARACTERS: usize = 512;

/// Writes the member before all others, in a request that has a trace; says whether it could.
pub(super) fn put(headers: &mut HeaderMap, number: u64) -> bool {
    if !has_trace_parent(headers) {
        return false;
    }
    let Some(others) = others(headers) else { return false };
    let mut list = format!("{KEY}={number:016x}");
    for member in &others {
        list.push(',');
        list.push_str(member);
    }
    if others.len() >= MEMBERS || list.len() > CHARACTERS {
        return false;
    }
    let Ok(value) = HeaderValue::try_from(list) else { return false };
    headers.insert(TRACESTATE, value);
    true
}

/// Takes the member out.
pub(super) fn take(headers: &mut HeaderMap) -> Option<u64> {
    // Most requests have no such list: a look at the names costs less than hashing the one that is not there.
    if !headers.keys().any(|name| *name == TRACESTATE) {
        return None;
    }
    let number = headers.get_all(&TRACESTATE).iter().find_map(|value| {
        let members = value.to_str().ok()?.split(',').map(|member| member.trim_matches(BLANK));
        members.filter_map(|member| member.strip_prefix(KEY)?.strip_prefix('=')).next()
    })?;
    let is_number = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if is_number { u64::from_str_radix(number, 16).ok() } else { None };
    let list = others(headers)?.join(",");
    match HeaderValue::try_from(list) {
        Ok(list) if !list.is_empty() => drop(headers.insert(TRACESTATE, list)),
        _ => drop(headers.remove(TRACESTATE)),
    }
    number
}

/// The members that are not ours, in order; `None` when the list is none.
fn others(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut others = Vec::new();
    for value in headers.get_all(&TRACESTATE) {
        let members = value.to_str().ok()?.split(',').map(|member| member.trim_matches(BLANK));
        for member in members.filter(|member| !member.is_empty()) {
            if key(member)? != KEY {
                others.push(member);
            }
        }
    }
    Some(others)
}

/// The key of a well-formed member.
fn key(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    let of_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let of_value = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    let is_key = (1..=256).contains(&key.len()) && key.bytes().all(of_key);
    (is_key && (1..=256).contains(&value.len()) && value.bytes().all(of_value)).then_some(key)
}

/// What may be around a member.
const BLANK: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn request(lists: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(PARENT));
        for list in lists {
            headers.append(TRACESTATE, list.parse().unwrap());
        }
        headers
    }

    fn lists(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(&TRACESTATE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn ours_is_leftmost_and_the_others_stay_in_order() {
        for (before, after) in [
            (&[][..], "outrigger=000000000000002a"),
            (&["a=1"], "outrigger=000000000000002a,a=1"),
            (&["b@c=x y,a=1", "z=:;"], "outrigger=000000000000002a,b@c=x y,a=1,z=:;"),
            (&["a=1 ,\t outrigger=old, ,b=2"], "outrigger=000000000000002a,a=1,b=2"),
            (&["outriggers=1"], "outrigger=000000000000002a,outriggers=1"),
        ] {
            let mut headers = request(before);
            assert!(put(&mut headers, 42), "{before:?}");
            assert_eq!(lists(&headers), [after], "{before:?}");
            assert_eq!(take(&mut headers), Some(42), "{before:?}");
        }
    }

    #[test]
    fn taking_it_out_leaves_the_others_as_they_were() {
        for (before, number, after) in [
            (&["outrigger=000000000000002a"][..], Some(42), &[][..]),
            (&["a=1,outrigger=000000000000002a,b=2"], Some(42), &["a=1,b=2"]),
            (&["a=1", "outrigger=000000000000002a"], Some(42), &["a=1"]),
            (&["outrigger=000000000000002a,outrigger=000000000000002b"], Some(42), &[]),
            (&["outrigger=2a"], None, &[]),
            (&["outrigger=+00000000000002a"], None, &[]),
            (&["a=1 , b=2"], None, &["a=1 , b=2"]),
            (&["not a list", "b=2"], None, &["not a list", "b=2"]),
            (&["outrigger=000000000000002a,not a list"], None, &["outrigger=000000000000002a,not a list"]),
        ] {
            let mut headers = request(before);
            assert_eq!(take(&mut headers), number, "{before:?}");
            assert_eq!(lists(&headers), after, "{before:?}");
        }
    }

    #[test]
    fn a_request_without_a_trace_gets_no_list() {
        for parent in [None, Some("00-0-0-01"), Some("")] {
            let mut headers = HeaderMap::new();
            if let Some(parent) = parent {
                headers.insert("traceparent", HeaderValue::from_static(parent));
            }
            assert!(!put(&mut headers, 42), "{parent:?}");
            assert!(!headers.contains_key(TRACESTATE), "{parent:?}");
        }
    }

    #[test]
    fn a_list_that_is_full_or_none_stays_as_it_is() {
        let full: Vec<String> = (0..32).map(|n| format!("k{n}=v")).collect();
        let long = format!("a={},b={}", "x".repeat(250), "y".repeat(240));
        for list in [&*full.join(","), &long, "not a list", "A=1", "a=", "=1", "a=b=c"] {
            let mut headers = request(&[list]);
            assert!(!put(&mut headers, 42), "{list}");
            assert_eq!(lists(&headers), [list]);
        }
        let mut headers = request(&[&full[1..].join(",")]);
        assert!(put(&mut headers, 42), "31 have room for one more");
    }

    proptest! {
        #[test]
        fn any_bytes_are_left_or_become_a_list(
            lists in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
        ) {
            let mut headers = request(&[]);
            for list in lists.iter().filter_map(|list| HeaderValue::from_bytes(list).ok()) {
                headers.append(TRACESTATE, list);
            }
            let before = headers.clone();
            if put(&mut headers, 42) {
                prop_assert!(others(&headers).is_some());
                prop_assert_eq!(take(&mut headers), Some(42));
                prop_assert!(headers.get_all(&TRACESTATE).iter().count() <= 1);
            } else {
                prop_assert_eq!(&headers, &before);
                let _ = take(&mut headers);
            }
        }
    }
}
