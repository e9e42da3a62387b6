//! What connections to a destination have taught of it. A hint for the next one, never more: each is looked at anew.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::detect::Verdict;

#[derive(Default)]
pub(crate) struct Learned {
    /// Its server has spoken first: the next connection need not wait for the client.
    server_first: AtomicBool,
    /// HTTP has come: the rest of half a request line is worth waiting for.
    http: AtomicBool,
    /// A word has come that could have become HTTP and did not: the next need not be waited for.
    words: AtomicBool,
}

impl Learned {
    pub(crate) fn server_speaks_first(&self) -> bool {
        self.server_first.load(Ordering::Relaxed)
    }

    pub(crate) fn server_spoke_first(&self) {
        self.server_first.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_http(&self) -> bool {
        self.http.load(Ordering::Relaxed)
    }

    /// Somebody has spoken HTTP.
    pub(crate) fn http(&self) {
        self.http.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_words(&self) -> bool {
        self.words.load(Ordering::Relaxed)
    }

    pub(crate) fn verdict(&self, verdict: Verdict) {
        match verdict {
            Verdict::Http1 | Verdict::Http2 => self.http(),
            Verdict::More => self.words.store(true, Ordering::Relaxed),
            Verdict::Tls | Verdict::Other => {}
        }
    }
}
