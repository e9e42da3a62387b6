//! How a sidecar ends: each direction by itself. Peers leave when the pod's end begins, and the application keeps its own connections until it
//! has ended.

use std::time::Duration;

use outrigger_daemon::Drain;
use tokio::time::{Instant, sleep};

use crate::admission::Admission;
use crate::direction::Direction;
use crate::telemetry::Telemetry;

/// After SIGTERM without a `leave` before it, no request for so long means that everyone has heard and left.
const QUIET: Duration = Duration::from_millis(500);

/// A connection that came no longer ago may bring its first request yet: from a peer that has not heard, for it had no connection to hear it on.
const ARRIVING: Duration = Duration::from_millis(250);

/// Peers that keep coming all the same are waited for no longer than this.
const MAX_ARRIVING: Duration = Duration::from_secs(1);

/// How often one looks whether something is in flight.
const LOOK: Duration = Duration::from_millis(20);

/// The drains of both directions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drains {
    /// Starts with `leave` (`preStop`), or with SIGTERM.
    pub(crate) inbound: Drain,
    /// Starts with SIGTERM, which a native sidecar gets when the application's containers have ended.
    pub(crate) outbound: Drain,
}

impl Drains {
    pub(crate) fn of(&self, direction: Direction) -> &Drain {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// Starts both and waits until nothing is in flight in either; `false` when `limit` came first.
    pub(crate) async fn finish(&self, telemetry: &Telemetry, admission: &Admission, limit: Duration) -> bool {
        // After `leave` nobody is served any more when SIGTERM comes; one look more, as what goes from one count to another is in neither.
        let still = if self.inbound.is_started() { LOOK } else { QUIET };
        self.inbound.start();
        self.outbound.start();
        quiet(telemetry, admission, still, limit).await
    }
}

/// Waits until nothing has been in flight for as long as `still`.
async fn quiet(telemetry: &Telemetry, admission: &Admission, still: Duration, limit: Duration) -> bool {
    let start = Instant::now();
    let mut quiet_since = None;
    while start.elapsed() < limit {
        let is_arriving = admission.since_latest() < ARRIVING && start.elapsed() < MAX_ARRIVING;
        if telemetry.in_flight() > 0 || is_arriving {
            quiet_since = None;
        } else if quiet_since.get_or_insert_with(Instant::now).elapsed() >= still {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}
