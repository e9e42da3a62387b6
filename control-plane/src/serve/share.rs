//! What one workload may use of the control plane, over all its connections. Everything is counted by workload, not by identity: a
//! Deployment with two hundred replicas has one identity and two hundred workloads.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::bucket::{Bucket, Budget};
use super::caller::Leaf;

/// What all workloads use. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    workloads: HashMap<Arc<str>, Arc<Share>>,
    /// Connections, by identity.
    identities: HashMap<Arc<str>, usize>,
    connections: usize,
    /// How many workloads there may be before those are looked for that use nothing.
    sweep_at: usize,
}

/// What one workload uses.
#[derive(Debug)]
pub(super) struct Share {
    workload: Arc<str>,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    connections: usize,
    streams: usize,
    bytes: usize,
    work: Bucket,
}

impl Shares {
    /// Counts a connection of whoever the leaf names.
    ///
    /// # Errors
    /// When there are too many already.
    pub(super) fn connect(&self, leaf: &Leaf) -> Result<Place, Excess> {
        let (workload, identity) = (leaf.name(), Arc::from(leaf.peer.identity.as_str()));
        let mut all = self.0.lock();
        if all.connections >= MAX_CONNECTIONS {
            return Err(Excess { whose: "all workloads".into(), limit: MAX_CONNECTIONS, of: "connections" });
        }
        if all.identities.get(&identity).is_some_and(|count| *count >= MAX_OF_IDENTITY) {
            return Err(Excess { whose: identity, limit: MAX_OF_IDENTITY, of: "connections" });
        }
        all.sweep();
        let share = all.workloads.entry(workload.clone()).or_insert_with(|| Arc::new(Share::new(workload))).clone();
        share.take(|used| &mut used.connections, 1, MAX_OF_WORKLOAD, "connections")?;
        all.connections += 1;
        *all.identities.entry(identity.clone()).or_default() += 1;
        drop(all);
        Ok(Place { share, identity, shares: self.clone() })
    }
}

impl All {
    /// Forgets workloads that are gone. Not at once: coming back would give them a new budget.
    fn sweep(&mut self) {
        if self.workloads.len() >= self.sweep_at {
            self.workloads.retain(|_, share| {
                let mut used = share.used.lock();
                used.connections > 0 || !used.work.is_full()
            });
            self.sweep_at = 2 * self.workloads.len() + 1024;
        }
    }
}

/// A connection's place among all; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    share: Arc<Share>,
    identity: Arc<str>,
    shares: Shares,
}

impl Place {
    /// Returns what its workload uses.
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.shares.0.lock();
        all.connections -= 1;
        self.share.used.lock().connections -= 1;
        if let Some(count) = all.identities.get_mut(&self.identity) {
            *count -= 1;
            if *count == 0 {
                all.identities.remove(&self.identity);
            }
        }
    }
}

impl Share {
    pub(super) fn new(workload: Arc<str>) -> Self {
        let used = Used { connections: 0, streams: 0, bytes: 0, work: Bucket::new(WORK) };
        Self { workload, used: Mutex::new(used) }
    }

    /// Returns whose share it is.
    pub(super) fn workload(&self) -> &Arc<str> {
        &self.workload
    }

    /// Counts a stream.
    ///
    /// # Errors
    /// When there are too many already.
    pub(super) fn stream(self: &Arc<Self>) -> Result<StreamPlace, Excess> {
        self.take(|used| &mut used.streams, 1, MAX_STREAMS, "streams")?;
        Ok(StreamPlace { share: self.clone() })
    }

    /// Pays for work that was done for the workload: what it asked for, not what a change in the cluster brought.
    pub(super) fn pay(&self, work: usize) {
        self.used.lock().work.pay(work);
    }

    /// Completes when the workload may ask for more work. It is made to wait, not refused: HTTP/2 holds back what it sends.
    pub(super) async fn ready(&self) {
        loop {
            let at = self.used.lock().work.ready_at();
            if at <= Instant::now() {
                return;
            }
            sleep_until(at).await;
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.used.lock().bytes
    }

    fn take(
        &self,
        which: impl Fn(&mut Used) -> &mut usize,
        more: usize,
        limit: usize,
        of: &'static str,
    ) -> Result<(), Excess> {
        let mut used = self.used.lock();
        let used = which(&mut used);
        if *used + more > limit {
            return Err(Excess { whose: self.workload.clone(), limit, of });
        }
        *used += more;
        Ok(())
    }
}

/// A stream's place among its workload's; dropping it gives it back.
#[derive(Debug)]
pub(super) struct StreamPlace {
    share: Arc<Share>,
}

impl StreamPlace {
    pub(super) fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Begins to count memory that the stream holds.
    pub(super) fn memory(&self) -> Memory {
        Memory { share: self.share.clone(), bytes: 0 }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.share.used.lock().streams -= 1;
    }
}

/// Memory that is held for a workload; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Memory {
    share: Arc<Share>,
    bytes: usize,
}

impl Memory {
    /// Says how much it is now.
    ///
    /// # Errors
    /// When that makes too much of all that is held for the workload; what was counted before stays so.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), Excess> {
        if bytes > self.bytes {
            self.share.take(
                |used| &mut used.bytes,
                bytes - self.bytes,
                MAX_BYTES,
                "bytes of resources and requests",
            )?;
        } else {
            self.share.used.lock().bytes -= self.bytes - bytes;
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.share.used.lock().bytes -= self.bytes;
    }
}

/// More than the control plane does for one workload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose}: at most {limit} {of} at a time")]
pub(super) struct Excess {
    whose: Arc<str>,
    limit: usize,
    of: &'static str,
}

impl From<Excess> for Status {
    fn from(excess: Excess) -> Self {
        Self::resource_exhausted(excess.to_string())
    }
}

/// Of all that have proved who they are.
const MAX_CONNECTIONS: usize = 16 * 1024;

/// So that no identity has all places, and the largest of Deployments has enough.
const MAX_OF_IDENTITY: usize = MAX_CONNECTIONS / 2;

/// A sidecar has one for its stream and now and then one for its next leaf; those that broke are noticed within 30 s, in which it
/// may have tried ten times.
const MAX_OF_WORKLOAD: usize = 16;

/// A sidecar has one, and those that broke within the last 30 s.
const MAX_STREAMS: usize = 12;

/// As many resources as one stream may hold, with all that is noted of each.
pub(super) const MAX_BYTES: usize = 24 * 1024 * 1024;

/// About a microsecond's work each: a resource that is looked up, a key that is read. At once there is enough for a sidecar with all
/// subscriptions that it may have; what goes on for long is held to some hundredths of a core.
pub(super) const WORK: Budget = Budget { at_once: 256 * 1024, per_second: 32 * 1024 };

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::serve::caller::tests::leaf;

    #[test]
    fn a_workload_has_so_many_places_and_another_of_its_identity_as_many_again() {
        let shares = Shares::default();
        let (loud, quiet) = (leaf("web", "web-1"), leaf("web", "web-2"));
        let mut places: Vec<_> = (0..MAX_OF_WORKLOAD).map(|_| shares.connect(&loud).unwrap()).collect();

        let excess = shares.connect(&loud).unwrap_err();
        assert_eq!(excess.to_string(), "shop/web-1: at most 16 connections at a time");
        assert!(shares.connect(&quiet).is_ok());
        places.pop();
        assert!(shares.connect(&loud).is_ok());
    }

    #[test]
    fn no_identity_has_all_places() {
        let shares = Shares::default();
        let places: Vec<_> = (0..MAX_OF_IDENTITY)
            .map(|number| shares.connect(&leaf("web", &format!("web-{number}"))).unwrap())
            .collect();

        let excess = shares.connect(&leaf("web", "web-x")).unwrap_err();
        assert_eq!(excess.to_string(), "spiffe://mesh.local/ns/shop/sa/web: at most 8192 connections at a time");
        assert!(shares.connect(&leaf("db", "db-1")).is_ok());
        drop(places);
        assert_eq!(shares.0.lock().identities.len(), 0);
        assert_eq!(shares.0.lock().connections, 0);
    }

    #[test]
    fn streams_and_memory_are_limited_and_given_back() {
        let share = Arc::new(Share::new("shop/web-1".into()));
        let mut streams: Vec<_> = (0..MAX_STREAMS).map(|_| share.stream().unwrap()).collect();
        assert_eq!(share.stream().unwrap_err().to_string(), "shop/web-1: at most 12 streams at a time");
        streams.pop();
        let stream = share.stream().unwrap();

        let (mut one, mut other) = (stream.memory(), stream.memory());
        one.set(MAX_BYTES - 10).unwrap();
        assert!(other.set(11).is_err());
        other.set(10).unwrap();
        one.set(5).unwrap();
        other.set(MAX_BYTES - 5).unwrap();
        drop((one, other));
        assert_eq!(share.used.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_back_has_no_new_budget_and_whoever_stays_away_is_forgotten() {
        let shares = Shares::default();
        let leaf = leaf("web", "web-1");
        let place = shares.connect(&leaf).unwrap();
        place.share().pay(2 * WORK.at_once as usize);
        drop(place);
        shares.0.lock().sweep_at = 0;

        let place = shares.connect(&leaf).unwrap();
        let began = Instant::now();
        place.share().ready().await;
        assert_eq!(began.elapsed().as_secs(), u64::from(WORK.at_once / WORK.per_second));

        drop(place);
        tokio::time::advance(Duration::from_secs(60)).await;
        shares.0.lock().sweep_at = 0;
        let _other = shares.connect(&self::leaf("db", "db-1")).unwrap();
        assert_eq!(shares.0.lock().workloads.len(), 1);
    }
}
