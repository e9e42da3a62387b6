//! What the two connections of a request tell each other beside the messages, whatever version of HTTP each speaks: that the client has ended
//! its side, responses that only inform (1xx), and what heads looked like.
//!
//! The task that serves a request also sends it on, within the same polls. So a variable of the thread carries this for the length of a
//! poll: a request costs no allocation and no lock for what hardly any request has. A task that sends on its own (the copy of a request) finds
//! nothing there, and so does not act on what a client does.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, response};

use crate::cut;
use crate::http2::Reason;

/// The client's end of the request that is being served.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The client has ended its side, after its request.
    pub(crate) ended: bool,
    /// The client understands responses that only inform.
    pub(crate) informed: bool,
    /// Those that have come and are not sent yet.
    pub(crate) interim: Vec<response::Parts>,
    /// The heads of the request and of its response as they were written, where both sides speak HTTP/1.
    pub(crate) request: Option<Bytes>,
    pub(crate) response: Option<Bytes>,
    /// The client has broken off, with this code: so does whoever sends its request.
    pub(crate) broken: Option<Reason>,
    /// Some client's request is being served.
    pub(crate) serves: bool,
}

impl Aside {
    const fn new() -> Self {
        Self {
            ended: false,
            informed: false,
            interim: Vec::new(),
            request: None,
            response: None,
            broken: None,
            serves: false,
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Aside> = const { RefCell::new(Aside::new()) };
}

/// Polls what serves the request of this client.
pub(crate) fn within<T>(aside: &mut Aside, poll: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(aside);
    poll()
}

/// Says whether the client of the request that is being served has ended its side.
pub(crate) fn has_ended() -> bool {
    CURRENT.with_borrow(|aside| aside.ended)
}

/// Says whether the client of the request that is being served has reset its connection: who gives up the connection that carries the
/// request on should end it by a reset as well.
#[must_use]
pub fn client_has_reset() -> bool {
    broken() == Some(cut::CONNECTION_RESET)
}

/// Returns the code with which the client of the request that is being served has broken off.
pub(crate) fn broken() -> Option<Reason> {
    CURRENT.with_borrow(|aside| aside.broken)
}

/// The client of the request that is being served has broken off.
pub(crate) fn break_off(reason: Option<Reason>) {
    CURRENT.with_borrow_mut(|aside| {
        if aside.serves {
            aside.broken = aside.broken.or(reason);
        }
    });
}

/// Returns the head of the request that is being served, as it was written.
pub(crate) fn request() -> Option<Bytes> {
    CURRENT.with_borrow(|aside| aside.request.clone())
}

/// Keeps the head of the response as it was written.
pub(crate) fn responded(head: Bytes) {
    CURRENT.with_borrow_mut(|aside| {
        if aside.request.is_some() {
            aside.response = Some(head);
        }
    });
}

/// Passes a response that only informs on to the client of the request that is being served.
pub(crate) fn inform(interim: response::Parts) {
    CURRENT.with_borrow_mut(|aside| {
        if aside.informed {
            aside.interim.push(interim);
        }
    });
}

/// What of an interim response's fields is not of the connection that it came over, and frames no body.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let of_the_connection = |name: &HeaderName| {
        matches!(*name, CONNECTION | UPGRADE | CONTENT_LENGTH | TRANSFER_ENCODING)
            || matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    let kept = headers.iter().filter(|(name, _)| !of_the_connection(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).fold(HeaderMap::new(), |mut kept, (name, value)| {
        kept.append(name, value);
        kept
    })
}

/// Restores what was there, even when the poll panics.
struct Entered<'a>(&'a mut Aside);

impl<'a> Entered<'a> {
    fn new(aside: &'a mut Aside) -> Self {
        aside.serves = true;
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, aside));
        Self(aside)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints() -> response::Parts {
        http::Response::builder().status(103).body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_request_hears_of_its_own_client_only() {
        let mut outer = Aside { ended: true, informed: true, ..Aside::default() };
        let mut inner = Aside::default();

        within(&mut outer, || {
            within(&mut inner, || {
                assert!(!has_ended());
                inform(hints());
            });
            assert!(has_ended());
            inform(hints());
        });

        assert!(!has_ended());
        inform(hints());
        assert_eq!((outer.interim.len(), inner.interim.len()), (1, 0), "HTTP/1.0 knows nothing that only informs");
    }

    #[test]
    fn who_works_for_nobody_breaks_nobody_off() {
        break_off(Some(Reason::CONNECT_ERROR));
        assert!(!client_has_reset());

        let mut aside = Aside::default();
        within(&mut aside, || {
            break_off(None);
            break_off(Some(Reason::CONNECT_ERROR));
            break_off(Some(Reason::CANCEL));
            assert!(client_has_reset());
        });
        assert!(!client_has_reset());
    }

    #[test]
    fn a_poll_that_panics_leaves_nothing_behind() {
        let mut aside = Aside { ended: true, ..Aside::default() };
        let panics = std::panic::AssertUnwindSafe(|| within(&mut aside, || panic!("in a poll")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(!has_ended());
    }
}
