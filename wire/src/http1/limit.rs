//! How long a head may take. A timer is made only when somebody waits: a head that is here at once costs none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

pin_project! {
    /// The time limit of what is waited for, which changes with the first byte of a head.
    #[derive(Default)]
    pub(crate) struct Limit {
        #[pin]
        timer: Option<Sleep>,
        begun: bool,
    }
}

impl Limit {
    /// Completes when the head has taken too long. Counts from the first call, and anew from the one at which the head has begun (or, after a
    /// response that only informs, has not). `None`: it may take as long as it likes.
    pub(crate) fn poll_expired(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        begun: bool,
        limit: Option<Duration>,
    ) -> Poll<Duration> {
        let mut this = self.project();
        let Some(limit) = limit else {
            this.timer.set(None);
            return Poll::Pending;
        };
        if this.timer.is_none() || *this.begun != begun {
            *this.begun = begun;
            this.timer.set(Some(sleep(limit)));
        }
        if let Some(timer) = this.timer.as_pin_mut() {
            ready!(timer.poll(cx));
        }
        Poll::Ready(limit)
    }
}
