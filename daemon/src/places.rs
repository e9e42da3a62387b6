//! Places for the connections of a small server that strangers can reach. A newcomer always gets one: when all are taken, the connection
//! that is least worth its place loses it. So no number of silent connections keeps a kubelet out, and memory stays bounded.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// In the order in which they came.
    held: Vec<Held>,
    next: u64,
}

#[derive(Debug)]
struct Held {
    id: u64,
    source: IpAddr,
    /// A whole request has come: it is being answered.
    asked: bool,
    lost: Arc<Notify>,
}

/// One connection's place, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    id: u64,
    lost: Arc<Notify>,
}

impl Places {
    /// Makes so many places.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Takes a place for a connection from this address. When there is none left another connection loses its own: of the address that has
    /// most, one that has not sent a whole request, the oldest.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Place {
        let source = source(address);
        let mut taken = self.taken.lock();
        if taken.held.len() >= self.most
            && let Some(victim) = taken.victim(source)
        {
            taken.held.remove(victim).lost.notify_one();
        }
        let (id, lost) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.held.push(Held { id, source, asked: false, lost: lost.clone() });
        drop(taken);
        Place { places: self.clone(), id, lost }
    }
}

impl Taken {
    /// Which one goes, for a newcomer from `source`, which counts as one more of those that its address has.
    fn victim(&self, source: IpAddr) -> Option<usize> {
        let of = |address: IpAddr| {
            self.held.iter().filter(|held| held.source == address).count() + usize::from(address == source)
        };
        // Of equals, `max_by_key` takes the last: the order is turned so that this is the oldest.
        let worth = |(_, held): &(usize, &Held)| (of(held.source), !held.asked);
        self.held.iter().enumerate().rev().max_by_key(worth).map(|(index, _)| index)
    }
}

impl Place {
    /// A whole request has come on the connection.
    pub fn asked(&self) {
        let mut taken = self.places.taken.lock();
        if let Some(held) = taken.held.iter_mut().find(|held| held.id == self.id) {
            held.asked = true;
        }
    }

    /// Completes when the place went to another: the connection is to be closed.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().held.retain(|held| held.id != self.id);
    }
}

/// Who an address counts as: whoever has one of IPv6 usually has all of its /64.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn is_lost(place: &Place) -> bool {
        pin!(place.lost()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_silent_one_of_the_greediest() {
        let places = Places::new(4);
        let kubelet = places.take(at(1));
        let crowd = [places.take(at(2)), places.take(at(2)), places.take(at(2))];
        crowd[0].asked();

        let newcomer = places.take(at(1));

        assert_eq!(
            [&kubelet, &crowd[0], &crowd[1], &crowd[2], &newcomer].map(is_lost),
            [false, false, true, false, false]
        );
    }

    #[test]
    fn whoever_takes_most_only_pushes_out_itself() {
        let places = Places::new(8);
        let kubelet = places.take(at(1));

        let mut strangers: Vec<_> = (0..1000).map(|_| places.take(at(2))).collect();

        assert!(!is_lost(&kubelet));
        assert_eq!(strangers.iter().filter(|place| !is_lost(place)).count(), 7);
        assert!(!is_lost(&strangers.remove(999)), "the last is still there");
    }

    #[test]
    fn many_addresses_push_out_the_oldest_and_the_kubelet_gets_a_place_at_any_time() {
        let places = Places::new(8);
        let strangers: Vec<_> = (2..200).map(|last| places.take(at(last))).collect();

        let kubelet = places.take(at(1));
        kubelet.asked();

        assert!(!is_lost(&kubelet));
        assert_eq!(strangers.iter().filter(|place| !is_lost(place)).count(), 7);
        let more: Vec<_> = (2..200).map(|last| places.take(at(last))).collect();
        assert!(!is_lost(&kubelet), "who has asked goes after those who have not");
        assert_eq!(more.iter().filter(|place| !is_lost(place)).count(), 7);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let places = Places::new(2);
        let first = places.take(at(1));
        for _ in 0..10 {
            drop(places.take(at(1)));
        }

        assert!(!is_lost(&first));
        assert_eq!(places.taken.lock().held.len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_ipv4_is_itself() {
        let parse = |text: &str| source(text.parse().unwrap());

        assert_eq!(parse("2001:db8:1:2::3"), parse("2001:db8:1:2:ffff::1"));
        assert_ne!(parse("2001:db8:1:2::3"), parse("2001:db8:1:3::3"));
        assert_eq!(parse("::ffff:10.0.0.1"), at(1));
    }
}
