//! Connections that have proved nothing yet: in their handshake, or without a leaf, to ask for a first one. They have a few places of
//! their own. When those are taken, somebody has to go: whoever has been at it for longest, of the address that has the most.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Unproved {
    state: Arc<Mutex<State>>,
    left: Arc<Notify>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The oldest first.
    here: BTreeMap<u64, Here>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Here {
    address: IpAddr,
    since: Instant,
    shed: CancellationToken,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Guest {
    number: u64,
    shed: CancellationToken,
    unproved: Unproved,
}

impl Unproved {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { state: Arc::default(), left: Arc::default(), metrics }
    }

    /// Takes a place for a connection from this address; makes room for it when there is none. When it would be at the expense of
    /// one that has only just come, it waits for a moment.
    pub(super) async fn enter(&self, address: IpAddr) -> Guest {
        loop {
            let left = self.left.notified();
            let wait = match self.state.lock().room() {
                Room::Free => break,
                Room::Made => {
                    self.metrics.shed();
                    break;
                }
                Room::At(instant) => instant,
            };
            tokio::select! {
                () = left => {}
                () = sleep_until(wait) => {}
            }
        }
        let (number, shed) = self.state.lock().add(address);
        Guest { number, shed, unproved: self.clone() }
    }
}

/// Whether there is room for one more.
enum Room {
    Free,
    /// Somebody had to go.
    Made,
    /// Not before this, unless somebody leaves.
    At(Instant),
}

impl State {
    fn room(&mut self) -> Room {
        if self.here.len() < PLACES {
            return Room::Free;
        }
        let most = self.by_address.values().copied().max().unwrap_or_default();
        // An address with so many makes room for all, and at once: nobody else waits for it.
        let is_flood = most > FAIR;
        let may_go = |here: &Here| !is_flood || self.by_address.get(&here.address) == Some(&most);
        let Some((number, oldest)) = self.here.iter().find(|(_, here)| may_go(here)) else { return Room::Free };
        let goes_at = oldest.since + GRACE;
        if !is_flood && goes_at > Instant::now() {
            return Room::At(goes_at);
        }
        let number = *number;
        if let Some(gone) = self.remove(number) {
            gone.shed.cancel();
        }
        Room::Made
    }

    fn add(&mut self, address: IpAddr) -> (u64, CancellationToken) {
        let (number, shed) = (self.next, CancellationToken::new());
        self.next += 1;
        self.here.insert(number, Here { address, since: Instant::now(), shed: shed.clone() });
        *self.by_address.entry(address).or_default() += 1;
        (number, shed)
    }

    fn remove(&mut self, number: u64) -> Option<Here> {
        let gone = self.here.remove(&number)?;
        if let Some(count) = self.by_address.get_mut(&gone.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&gone.address);
            }
        }
        Some(gone)
    }
}

impl Guest {
    /// Completes when it has to make room for others.
    pub(super) async fn shed(&self) {
        self.shed.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.unproved.state.lock().remove(self.number).is_some() {
            self.unproved.left.notify_one();
        }
    }
}

/// Handshakes take a millisecond of work each, so few are under way at a time, even when thousands of sidecars come back at once.
const PLACES: usize = 512;

/// More than this of one address is too much.
const FAIR: usize = PLACES / 4;

/// Nobody goes before it had time for a handshake.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(number: usize) -> IpAddr {
        std::net::Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    fn is_shed(guest: &Guest) -> bool {
        guest.shed().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_one_address_costs_nobody_else_his_place() {
        let unproved = Unproved::new(Metrics::default());
        let honest = unproved.enter(address(1)).await;
        let mut flood = Vec::new();
        for _ in 0..2 * PLACES {
            flood.push(unproved.enter(address(2)).now_or_never().expect("nobody waits"));
        }
        let late = unproved.enter(address(3)).now_or_never().expect("nobody waits");

        assert!(!is_shed(&honest) && !is_shed(&late));
        let shed: Vec<bool> = flood.iter().map(is_shed).collect();
        assert_eq!(shed.iter().position(|shed| !shed), Some(PLACES + 2), "the oldest go first");
        assert_eq!(unproved.state.lock().here.len(), PLACES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_places_and_whoever_says_nothing_goes_after_a_moment() {
        let unproved = Unproved::new(Metrics::default());
        let mut crowd = Vec::new();
        for number in 0..PLACES {
            crowd.push(unproved.enter(address(number)).await);
        }

        let mut next = Box::pin(unproved.enter(address(PLACES)));
        assert!(next.as_mut().now_or_never().is_none());
        crowd.swap_remove(7);
        let next = next.now_or_never().expect("one has left");
        assert!(!crowd.iter().any(is_shed));

        let began = Instant::now();
        let _late = unproved.enter(address(PLACES + 1)).await;
        assert_eq!(began.elapsed(), GRACE);
        assert!(is_shed(&crowd[0]) && !is_shed(&next));
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_given_back() {
        let unproved = Unproved::new(Metrics::default());
        for number in 0..3 * PLACES {
            drop(unproved.enter(address(number % 7)).await);
        }
        assert!(unproved.state.lock().here.is_empty() && unproved.state.lock().by_address.is_empty());
    }
}
