//! Limits of a policy: connections to an endpoint, requests that wait for one, requests under way. Counted by this sidecar
//! alone; what is over a limit is refused at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use outrigger_proto::ErrorCode;

use super::BackendName;
use crate::error::{Fate, ProxyError};
use crate::stream::enter;

pub(crate) use outrigger_proto::model::Limits;

/// Requests that wait for a connection at most, where a policy limits connections and not these.
pub(super) const PENDING: u32 = 1024;

/// The requests of one backend, counted while a policy limits them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    requests: AtomicU32,
    pending: AtomicU32,
}

impl Counts {
    pub(super) fn request(self: &Arc<Self>, max: u32) -> Option<Permit> {
        enter(&self.requests, max).then(|| Permit { counts: self.clone(), pending: false })
    }

    pub(super) fn waiting(&self) -> u32 {
        self.pending.load(Ordering::Relaxed)
    }

    pub(super) fn pending(self: &Arc<Self>, max: u32) -> Option<Permit> {
        enter(&self.pending, max).then(|| Permit { counts: self.clone(), pending: true })
    }
}

/// A request's place among those that are counted, until it goes.
#[derive(Debug)]
pub(crate) struct Permit {
    counts: Arc<Counts>,
    pending: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = if self.pending { &self.counts.pending } else { &self.counts.requests };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The error of a limit that is reached. It is ours: to repeat the request would meet the same limit.
pub(crate) fn reached(backend: &BackendName, limit: &str, max: u32) -> ProxyError {
    let detail = format!("{limit} of {backend} is {max}, and they are all in use");
    ProxyError::new(ErrorCode::ConnectionLimit, detail).fate(Fate::Withheld)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_come_back() {
        let counts = Arc::new(Counts::default());
        let first = counts.request(2).unwrap();
        let _second = counts.request(2).unwrap();
        assert!(counts.request(2).is_none());
        assert!(counts.pending(1).is_some(), "counted apart");

        drop(first);

        assert!(counts.request(2).is_some());
        assert!(counts.pending(0).is_none());
    }
}
