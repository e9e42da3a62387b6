//! Who looks: sidecars report only as long as somebody does, and as often as that needs.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::history::LONGEST;

/// How closely somebody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// As it happens.
    Live,
    /// Now and then.
    Slow,
}

impl Look {
    pub(crate) const ALL: [Self; 2] = [Self::Live, Self::Slow];

    /// How often sidecars report.
    pub(crate) fn every(self) -> Duration {
        match self {
            Self::Live => Duration::from_secs(2),
            Self::Slow => Duration::from_secs(10),
        }
    }

    /// Over how long it adds up.
    pub(crate) fn window(self) -> Duration {
        match self {
            Self::Live => Duration::from_secs(10),
            Self::Slow => LONGEST,
        }
    }

    /// For how long after a look another one is expected.
    fn patience(self) -> Duration {
        match self {
            Self::Live => Duration::from_secs(20),
            Self::Slow => Duration::from_secs(90),
        }
    }
}

/// Who looks at a control plane. Nobody, most of the time.
#[derive(Debug)]
pub(crate) struct Interest {
    /// Until when, by [`Look::ALL`].
    until: Mutex<[Option<Instant>; 2]>,
    every: watch::Sender<Option<Duration>>,
}

impl Default for Interest {
    fn default() -> Self {
        Self { until: Mutex::default(), every: watch::Sender::new(None) }
    }
}

impl Interest {
    /// Somebody looks.
    pub(crate) fn look(&self, look: Look) {
        self.until.lock()[look as usize] = Some(Instant::now() + look.patience());
        self.update();
    }

    /// How often sidecars are to report now, and all changes of it; `None`: not at all.
    pub(crate) fn every(&self) -> watch::Receiver<Option<Duration>> {
        self.every.subscribe()
    }

    /// Says whether somebody looks.
    pub(crate) fn is_there(&self) -> bool {
        self.every.borrow().is_some()
    }

    /// Follows the time; says whether somebody still looks.
    pub(crate) fn update(&self) -> bool {
        let now = Instant::now();
        let until = *self.until.lock();
        let looks = Look::ALL.into_iter().filter(|look| until[*look as usize].is_some_and(|until| now < until));
        let every = looks.map(Look::every).min();
        self.every.send_if_modified(|present| std::mem::replace(present, every) != every);
        every.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sidecars_report_as_often_as_the_closest_look_needs_and_not_when_nobody_looks() {
        let interest = Interest::default();
        let every = interest.every();
        assert!(!interest.is_there());
        interest.look(Look::Slow);
        assert_eq!(*every.borrow(), Some(Duration::from_secs(10)));
        interest.look(Look::Live);
        assert_eq!(*every.borrow(), Some(Duration::from_secs(2)));

        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(interest.update());
        assert_eq!(*every.borrow(), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert!(!interest.update());
        assert_eq!(*every.borrow(), None);
    }
}
