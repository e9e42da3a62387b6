//! A few places for work that must not all be one caller's: whoever waits is served in turn, caller by caller.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Callers that wait, the next one first; each is here once.
    order: VecDeque<IpAddr>,
    waiting: HashMap<IpAddr, VecDeque<oneshot::Sender<Turn>>>,
    /// How many wait in all.
    count: usize,
}

/// A place; dropping it gives it to the next caller.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Mutex<State>>>);

impl Turns {
    pub(super) fn new(places: usize) -> Self {
        let state = State { free: places, order: VecDeque::new(), waiting: HashMap::new(), count: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When too many wait already, of this caller or of all.
    ///
    /// # Cancel safety
    /// When the future is dropped, its place goes to the next.
    pub(super) async fn take(&self, caller: IpAddr) -> Result<Turn, Full> {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(self.0.clone())));
            }
            state.enqueue(caller)?
        };
        // Never dropped without a word while somebody waits: the places are handed on for ever.
        turn.await.map_err(|_| Full::All)
    }
}

impl State {
    fn enqueue(&mut self, caller: IpAddr) -> Result<oneshot::Receiver<Turn>, Full> {
        if self.count >= MAX_WAITING {
            return Err(Full::All);
        }
        let queue = self.waiting.entry(caller).or_default();
        // Whoever went away makes room.
        let before = queue.len();
        queue.retain(|waiter| !waiter.is_closed());
        self.count -= before - queue.len();
        if queue.len() >= MAX_WAITING_EACH {
            return Err(Full::Caller);
        }
        if before == 0 {
            self.order.push_back(caller);
        }
        let (sender, receiver) = oneshot::channel();
        queue.push_back(sender);
        self.count += 1;
        Ok(receiver)
    }

    /// Takes out whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let caller = self.order.pop_front()?;
        let queue = self.waiting.get_mut(&caller)?;
        let next = queue.pop_front();
        self.count -= usize::from(next.is_some());
        if queue.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut state = turns.lock();
                let Some(next) = state.next() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.send(Self(Some(turns.clone()))) {
                Ok(()) => return,
                // It waits no longer.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

/// There is no room to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// For this caller.
    Caller,
    /// For anybody.
    All,
}

/// Each is one connection's: a sidecar asks for one certificate at a time.
const MAX_WAITING_EACH: usize = 4;

const MAX_WAITING: usize = 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn caller(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[tokio::test]
    async fn callers_take_turns_however_many_one_of_them_asks_for() {
        let turns = Turns::new(1);
        let held = turns.take(caller(1)).await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let tasks = [1, 1, 1, 1, 2, 3, 3].map(|number| {
            let (turns, served) = (turns.clone(), served.clone());
            tokio::spawn(async move {
                let _turn = turns.take(caller(number)).await.unwrap();
                served.lock().push(number);
            })
        });
        while turns.0.lock().count < tasks.len() {
            tokio::task::yield_now().await;
        }

        drop(held);
        futures_util::future::join_all(tasks).await;

        assert_eq!(*served.lock(), [1, 2, 3, 1, 3, 1, 1]);
    }

    #[tokio::test]
    async fn whoever_waits_no_longer_is_passed_over_and_no_place_is_lost() {
        let turns = Turns::new(1);
        let held = turns.take(caller(1)).await.unwrap();
        let mut gone = Box::pin(turns.take(caller(2)));
        let mut told_and_gone = Box::pin(turns.take(caller(3)));
        let mut left = Box::pin(turns.take(caller(4)));
        for turn in [&mut gone, &mut told_and_gone, &mut left] {
            assert!(turn.as_mut().now_or_never().is_none());
        }

        drop(gone);
        drop(held);
        drop(told_and_gone);

        assert!(left.now_or_never().unwrap().is_ok());
        assert!(turns.take(caller(5)).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn no_more_than_a_few_wait_for_one_caller_and_for_all() {
        let turns = Turns::new(1);
        let _held = turns.take(caller(1)).await.unwrap();
        let mut waiting = Vec::new();
        let mut wait = |address: IpAddr| {
            let mut turn = Box::pin(turns.take(address));
            let full = turn.as_mut().now_or_never().map(|turn| turn.unwrap_err());
            waiting.push(turn);
            full
        };
        for _ in 0..MAX_WAITING_EACH {
            assert_eq!(wait(caller(1)), None);
        }
        assert_eq!(wait(caller(1)), Some(Full::Caller));
        assert_eq!(wait(caller(2)), None);

        let many = u32::try_from(MAX_WAITING).unwrap();
        let full = (0..many).find_map(|number| wait(std::net::Ipv4Addr::from_bits(number).into()));
        assert_eq!(full, Some(Full::All));
    }
}
