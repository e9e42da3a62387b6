//! The one timer of a connection. It is not set again for each frame: when it fires, one looks what came since.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::ready::{self, Ready, TIMER};

/// A timer that may be off.
#[derive(Debug)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    waker: Waker,
}

impl Timer {
    pub(super) fn new(ready: &Arc<Ready>) -> Self {
        Self { sleep: None, waker: ready::waker(ready, TIMER) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.sleep.is_some()
    }

    /// Fires after `duration`.
    pub(super) fn set(&mut self, duration: Duration) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + duration),
            None => self.sleep = Some(Box::pin(sleep(duration))),
        }
        self.is_due();
    }

    pub(super) fn stop(&mut self) {
        self.sleep = None;
    }

    /// Whether it fired; asked once its bit is set.
    pub(super) fn is_due(&mut self) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(&mut cx).is_ready())
    }
}
