//! One exchange with an endpoint, from the choice of the endpoint until it is over, in whatever way: how it ended is recorded when this goes,
//! so that an exchange which nobody waits for any more counts as well.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::load::late;
use super::{Backend, Endpoint, Outcome};
use crate::edges::{Attempt, Class, Edge};
use crate::error::ProxyError;

/// Timers fire a little before or after their time.
const TIMER: Duration = Duration::from_millis(5);

/// An exchange in flight at an endpoint.
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
    /// Who learns how it ended; the own app has nobody to be left out for.
    backend: Option<Arc<Backend>>,
    began: Instant,
    /// When it could be sent: dialling says nothing about the endpoint's answers.
    sent: Instant,
    /// The time that the route gives it.
    limit: Option<Duration>,
    is_probe: bool,
    /// Every error of the endpoint's counts.
    is_strict: bool,
    /// What the answer's head says. It may yet break off, and a call's status comes last.
    outcome: Option<Outcome>,
    /// Where it is counted; a copy of a request is not.
    attempt: Option<Attempt>,
}

impl InFlight {
    /// An exchange begins; it counts from now on: others that come while this one dials go elsewhere.
    pub(crate) fn new(endpoint: &Arc<Endpoint>, backend: Option<&Arc<Backend>>) -> Self {
        let now = Instant::now();
        endpoint.load.begin(now);
        let is_probe = backend.is_some() && endpoint.health.take_probe();
        let (endpoint, backend) = (endpoint.clone(), backend.cloned());
        Self {
            endpoint,
            backend,
            began: now,
            sent: now,
            limit: None,
            is_probe,
            is_strict: false,
            outcome: None,
            attempt: None,
        }
    }

    /// Counts as an attempt.
    #[must_use]
    pub(crate) fn counted(mut self, edge: Option<Arc<Edge>>) -> Self {
        self.attempt = edge.map(Attempt::begin);
        self
    }

    /// Keeps to a route's time and to a policy, under which every error of the endpoint's counts.
    #[must_use]
    pub(crate) fn judged(mut self, limit: Option<Duration>, is_strict: bool) -> Self {
        self.limit = limit;
        self.is_strict = is_strict;
        self
    }

    /// The connection is there only now.
    pub(crate) fn connected(&mut self) {
        self.sent = Instant::now();
    }

    /// Says whether it is one of many small requests to the endpoint; to be asked once.
    pub(crate) fn is_in_a_crowd(&self) -> bool {
        self.endpoint.crowd.joined(self.endpoint.in_flight())
    }

    /// The answer's head is here, and says how long the body is, or not.
    pub(crate) fn answered<B>(&mut self, response: &http::Response<B>, bytes: Option<u64>) {
        let now = Instant::now();
        self.endpoint.load.observe(now.duration_since(self.sent));
        self.endpoint.crowd.answered(bytes);
        if let Some(attempt) = &mut self.attempt {
            attempt.answered(response, now.duration_since(self.began));
        }
        let Some(backend) = &self.backend else { return };
        let outcome = Outcome::of_response(response, self.is_strict);
        backend.answered(&self.endpoint);
        if outcome == Outcome::Answered && self.is_probe {
            // What it is to find out is known. The body may take hours.
            self.is_probe = false;
            backend.record(&self.endpoint, outcome, true);
        }
        self.outcome = Some(outcome);
    }

    /// It is a connection for bytes, which is open.
    pub(crate) fn opened(&mut self) {
        self.endpoint.load.observe(self.began.elapsed());
        if let Some(backend) = &self.backend {
            backend.answered(&self.endpoint);
            backend.record(&self.endpoint, Outcome::Answered, self.is_probe);
        }
        self.is_probe = false;
        self.outcome = Some(Outcome::Unknown);
    }

    /// What has been learnt about the endpoint, before the exchange is over or in place of an answer.
    pub(crate) fn ended(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// There will be no answer, or none that counts.
    pub(crate) fn failed(&mut self, error: &ProxyError) {
        self.outcome = Some(Outcome::of_error(error));
        if let Some(attempt) = &mut self.attempt {
            attempt.failed(Class::of_error(error), self.began.elapsed());
        }
    }

    /// The answer ended before its end.
    pub(super) fn broke_off(&mut self) {
        self.outcome = Some(Outcome::Failed { retry_after: None });
        self.attempt.iter_mut().for_each(Attempt::broke_off);
    }

    /// The answer has ended in good order, or is no answer any more but a connection.
    pub(crate) fn complete(&mut self) {
        self.attempt.iter_mut().for_each(Attempt::complete);
    }

    /// The answer's trailers are here.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(attempt) = &mut self.attempt {
            attempt.trailers(trailers);
        }
        if self.outcome == Some(Outcome::Answered) {
            self.outcome = Some(Outcome::of_grpc(trailers, self.is_strict));
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What it means that nobody waits for the answer any more.
    fn given_up(&self) -> Outcome {
        let waited = self.began.elapsed();
        if self.limit.is_some_and(|limit| waited + TIMER >= limit) {
            self.endpoint.load.unanswered(waited);
            return Outcome::TimedOut;
        }
        let load = &self.endpoint.load;
        // One that was meant to take long, while others are answered, is no sign of anything.
        if waited < late(load.usual()) || load.has_answered_since(self.began) {
            return Outcome::Unknown;
        }
        load.unanswered(waited);
        Outcome::Late
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            let outcome = self.outcome.unwrap_or_else(|| self.given_up());
            backend.record(&self.endpoint, outcome, self.is_probe);
            // The route's time was up, which is not to be left by its client.
            if outcome == Outcome::TimedOut
                && let Some(attempt) = self.attempt.as_mut().filter(|attempt| !attempt.has_class())
            {
                attempt.failed(Some(Class::TimedOut), self.began.elapsed());
            }
        }
        self.endpoint.load.end();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::endpoint;
    use super::*;
    use crate::balance::BackendName;
    use crate::edges::Edges;

    #[tokio::test(start_paused = true)]
    async fn what_the_routes_time_ends_counts_as_timed_out_and_what_its_client_ends_as_abandoned() {
        let edges = Edges::default();
        let backend = Arc::new(Backend::new(BackendName::Unknown, vec![endpoint(1)]));
        let edge = backend.edge(&edges, None, None);
        let limit = Duration::from_millis(500);
        let begin = || InFlight::new(&backend.endpoints()[0], Some(&backend)).judged(Some(limit), false);

        let left = begin().counted(Some(edge.clone()));
        tokio::time::advance(limit / 2).await;
        drop(left);
        let late = begin().counted(Some(edge.clone()));
        tokio::time::advance(limit).await;
        drop(late);
        drop(begin().counted(None)); // a copy of a request

        assert_eq!(edge.started(), 2);
        assert_eq!((edge.attempts.abandoned(), edge.attempts.by_class()), (1, [0, 0, 0, 0, 0, 0, 1, 0]));
    }
}
