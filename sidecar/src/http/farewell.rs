//! When a connection's client is told to use another one: the workload ends, or the connection has come to its age.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use std::time::Duration;

use outrigger_daemon::Drain;
use tokio::time::{Sleep, sleep};

use crate::random::random;

/// Why it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    Drain,
    Age,
}

/// Completes when the client is to be told. It is asked with each request and before it: it registers with the drain once for each task.
pub(crate) async fn farewell(drain: &Drain, max_age: Option<Duration>) -> Farewell {
    // Boxed: few set it, and each connection would have room for it.
    let mut age: Option<Pin<Box<Sleep>>> = max_age.map(|age| Box::pin(sleep(spread(age))));
    let mut started = pin!(drain.started());
    let mut registered: Option<Waker> = None;
    poll_fn(|cx| {
        if drain.is_started() {
            return Poll::Ready(Farewell::Drain);
        }
        if !registered.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            registered = Some(cx.waker().clone());
            if started.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Farewell::Drain);
            }
        }
        match age.as_mut().map(|age| age.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Farewell::Age),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}

/// Draws from a tenth below to a tenth above, so that connections which were opened together are not replaced together.
fn spread(age: Duration) -> Duration {
    age.mul_f64(0.9 + (random() % 1_000) as f64 / 5_000.0)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_comes_to_its_age_give_or_take_a_tenth() {
        let mut ages = Vec::new();
        for _ in 0..50 {
            let begun = Instant::now();
            assert_eq!(farewell(&Drain::new(), Some(Duration::from_secs(100))).await, Farewell::Age);
            ages.push(begun.elapsed().as_secs());
        }
        assert!(ages.iter().all(|age| (90..=110).contains(age)), "{ages:?}");
        assert!(ages.iter().min() < ages.iter().max());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_told_whenever_it_starts() {
        let drain = Drain::new();
        let told = tokio::spawn({
            let drain = drain.clone();
            async move { farewell(&drain, None).await }
        });
        sleep(Duration::from_secs(86_400)).await;
        assert!(!told.is_finished());

        drain.start();
        assert_eq!(told.await.unwrap(), Farewell::Drain);
        assert_eq!(farewell(&drain, Some(Duration::from_secs(1))).await, Farewell::Drain);
    }
}
