//! Consistent hashing by the highest random weight ("rendezvous"): each endpoint has a score for each value, and the
//! highest one is taken. It needs no table, and is the same in every sidecar whatever the order of the endpoints. When one
//! goes only its own values move, and when one comes only those move that are its own now. It looks at every endpoint: a
//! nanosecond or so each.

use std::sync::Arc;

use http::header::{COOKIE, HeaderName};
use http::request;
use outrigger_proto::WorkloadName;
use outrigger_proto::model::HashKey;

use super::Endpoint;
use super::digest::{mix, of_bytes};

/// What of a request decides.
pub(crate) enum Key {
    Header(HeaderName),
    Cookie(Box<str>),
    /// The same for all that this sidecar sends.
    Source(u64),
    Path,
}

impl Key {
    pub(super) fn new(asked: HashKey, own: &WorkloadName) -> Self {
        match asked {
            HashKey::Header(name) => Self::Header(name),
            HashKey::Cookie(name) => Self::Cookie(name),
            HashKey::Source => Self::Source(of_bytes(own.to_string().as_bytes())),
            HashKey::Path => Self::Path,
        }
    }

    /// Returns the hash of a request's value; `None` when it has none.
    pub(super) fn of(&self, request: Option<&request::Parts>) -> Option<u64> {
        let text = match self {
            Self::Source(hash) => return Some(*hash),
            Self::Header(name) => request?.headers.get(name)?.as_bytes(),
            Self::Cookie(name) => {
                let cookies = request?.headers.get_all(COOKIE).iter();
                cookies.filter_map(|cookie| cookie.to_str().ok()).find_map(|line| cookie(line, name))?.as_bytes()
            }
            Self::Path => request?.uri.path().as_bytes(),
        };
        Some(of_bytes(text))
    }
}

/// Returns the endpoint with the highest score for a key, of those that are usable if there are any.
pub(super) fn highest(many: &[Arc<Endpoint>], key: u64, usable: impl Fn(&Arc<Endpoint>) -> bool) -> &Arc<Endpoint> {
    let (mut first, mut best) = (&many[0], None);
    let (mut first_score, mut best_score) = (0, 0);
    for endpoint in many {
        let score = mix(key ^ endpoint.seed);
        if score >= first_score {
            (first, first_score) = (endpoint, score);
        }
        // Asked only of those that could win: most could not.
        if (best.is_none() || score > best_score) && usable(endpoint) {
            (best, best_score) = (Some(endpoint), score);
        }
    }
    best.unwrap_or(first)
}

/// Finds a cookie's value in a `Cookie` header.
fn cookie<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.split(';').find_map(|pair| pair.trim().split_once('=').filter(|(own, _)| *own == name).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn endpoints(n: u8) -> Vec<Arc<Endpoint>> {
        (1..=n).map(|last| Arc::new(Endpoint::local(([10, 0, 3, last], 8080).into(), 1))).collect()
    }

    fn owner(many: &[Arc<Endpoint>], key: u64) -> SocketAddr {
        highest(many, key, |_| true).address
    }

    fn request(headers: &[(&'static str, &'static str)]) -> request::Parts {
        let mut request = http::Request::new(());
        *request.uri_mut() = "/a/b?c=d".parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request.into_parts().0
    }

    fn of(key: HashKey, headers: &[(&'static str, &'static str)]) -> Option<u64> {
        let own = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        Key::new(key, &own).of(Some(&request(headers)))
    }

    const KEYS: u64 = 20_000;

    #[test]
    fn values_are_spread_evenly() {
        for n in [2, 3, 10, 50] {
            let many = endpoints(n);
            let mut counts = std::collections::HashMap::new();
            (0..KEYS).for_each(|key| *counts.entry(owner(&many, of_bytes(&key.to_le_bytes()))).or_insert(0_u64) += 1);
            let fair = KEYS / u64::from(n);
            for (endpoint, count) in counts {
                assert!(count > fair * 75 / 100 && count < fair * 125 / 100, "{endpoint}: {count} of {fair}");
            }
        }
    }

    #[test]
    fn only_the_values_of_an_endpoint_move_when_it_goes_or_comes() {
        for n in [2_u8, 5, 20] {
            let before = endpoints(n);
            let mut after = before.clone();
            let gone = after.remove(usize::from(n) / 2).address;
            // The order in which they are told of is nothing to them.
            after.reverse();
            let mut moved = 0;
            for key in (0..KEYS).map(mix) {
                let (old, new) = (owner(&before, key), owner(&after, key));
                if old == gone {
                    moved += 1;
                } else {
                    assert_eq!(old, new, "only what {gone} had may move");
                }
            }
            let fair = KEYS / u64::from(n);
            assert!(moved < fair + fair / 10, "{moved} moved of {KEYS}, with {n} endpoints");
        }
    }

    #[test]
    fn the_values_of_what_cannot_be_used_go_to_the_others_and_come_back() {
        let many = endpoints(4);
        let mut seen = std::collections::HashSet::new();
        for key in (0..1000).map(mix) {
            let own = owner(&many, key);
            let other = highest(&many, key, |endpoint| endpoint.address != own).address;
            assert_ne!(own, other);
            seen.insert((own, other));
            assert_eq!(highest(&many, key, |_| false).address, own, "when none is usable it is its own again");
        }
        assert_eq!(seen.len(), 12, "one's values are spread over all others");
    }

    #[test]
    fn a_value_of_the_request_decides() {
        let (header, cookie) = (HashKey::Header(HeaderName::from_static("x-user")), HashKey::Cookie("id".into()));
        let same = |key: &HashKey, a: &[(&'static str, &'static str)], b: &[(&'static str, &'static str)]| {
            of(key.clone(), a) == of(key.clone(), b)
        };
        assert!(same(&header, &[("x-user", "a")], &[("x-user", "a"), ("x-other", "b")]));
        assert!(!same(&header, &[("x-user", "a")], &[("x-user", "b")]));
        assert_eq!(of(header, &[]), None);
        assert!(same(&cookie, &[("cookie", "a=1; id=7")], &[("cookie", "a=2"), ("cookie", "id=7; b=3")]));
        assert!(!same(&cookie, &[("cookie", "id=7")], &[("cookie", "id=8")]));
        assert_eq!(of(cookie, &[("cookie", "myid=7")]), None);
        assert_eq!(of(HashKey::Path, &[]), Some(of_bytes(b"/a/b")));
        assert_eq!(of(HashKey::Source, &[]), Some(of_bytes(b"shop/cart-1")));
    }
}
