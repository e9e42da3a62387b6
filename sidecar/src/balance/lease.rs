//! A request's hold on a connection.

use crate::balance::{InFlight, Permit, Sender};
use crate::stream::{Io, Reset};

/// A connection's use by one request, from its choice until its response has been read to the end.
pub(crate) struct Lease {
    in_flight: InFlight,
    worker: usize,
    sender: Option<Sender>,
    /// Requests that an HTTP/1 connection may carry.
    most: Option<u32>,
    /// The request's place under a limit.
    _permit: Option<Permit>,
}

impl Lease {
    pub(crate) fn new(in_flight: InFlight, worker: usize, sender: Sender) -> Self {
        Self { in_flight, worker, sender: Some(sender), most: None, _permit: None }
    }

    /// Keeps to a policy.
    #[must_use]
    pub(crate) fn limited(mut self, most: Option<u32>, permit: Option<Permit>) -> Self {
        self.most = most;
        self._permit = permit;
        self
    }

    pub(crate) fn sender(&mut self) -> Option<&mut Sender> {
        self.sender.as_mut()
    }

    /// Returns the stream of an HTTP/1 connection that has left HTTP, and what has been read of it.
    pub(crate) fn take_stream(&mut self) -> Option<(Io, bytes::Bytes)> {
        match self.sender.take()? {
            Sender::Http1(http1) => http1.connection.into_parts(),
            Sender::Http2 { .. } => None,
        }
    }

    /// The exchange that the connection is used for.
    pub(crate) fn in_flight(&mut self) -> &mut InFlight {
        &mut self.in_flight
    }

    /// The answer ended before its end.
    pub(crate) fn broke_off(mut self) {
        self.in_flight.broke_off();
    }

    /// The response has ended in good order: an HTTP/1 connection can serve the next request.
    pub(crate) fn give_back(mut self) {
        self.in_flight.complete();
        if let Some(Sender::Http1(mut connection)) = self.sender.take() {
            connection.used += 1;
            if self.most.is_none_or(|most| connection.used < most) {
                let endpoint = self.in_flight.endpoint();
                endpoint.pool(self.worker).put_http1(connection);
                endpoint.connections().free();
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // It was not given back: the exchange has broken off.
        if let Some(Sender::Http1(http1)) = &self.sender
            && outrigger_wire::client_has_reset()
        {
            http1.connection.with_io(Reset::reset_when_dropped);
        }
    }
}
