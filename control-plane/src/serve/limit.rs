//! At most so many requests per second and address, in a table that cannot grow without bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Counts requests by address.
#[derive(Debug, Default)]
pub(super) struct Limit {
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    requests: u32,
}

impl Limit {
    /// Says whether a request of this address may pass.
    pub(super) fn admit(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let mut windows = self.windows.lock();
        if windows.len() >= MAX_ADDRESSES && !windows.contains_key(&address) {
            windows.retain(|_, window| now - window.since < WINDOW);
            if windows.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let window = windows.entry(address).or_insert(Window { since: now, requests: 0 });
        if now - window.since >= WINDOW {
            *window = Window { since: now, requests: 0 };
        }
        window.requests += 1;
        window.requests <= PER_WINDOW
    }
}

const WINDOW: Duration = Duration::from_secs(1);
const PER_WINDOW: u32 = 10;
const MAX_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_address_does_not_starve_another() {
        let limit = Limit::default();
        let (loud, quiet) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());

        assert!((0..10).all(|_| limit.admit(loud)));
        assert!(!limit.admit(loud));
        assert!(limit.admit(quiet));

        tokio::time::advance(WINDOW).await;
        assert!(limit.admit(loud));
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded_and_recovers() {
        let limit = Limit::default();
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() {
            assert!(limit.admit(std::net::Ipv4Addr::from_bits(number).into()));
        }

        let late = std::net::Ipv4Addr::from_bits(u32::MAX).into();
        assert!(!limit.admit(late));
        tokio::time::advance(WINDOW).await;
        assert!(limit.admit(late));
        assert_eq!(limit.windows.lock().len(), 1);
    }
}
