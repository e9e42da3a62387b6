//! Traces in which requests of this workload's app have failed for good, after what the route allows of repetitions: when the app fails for that, its
//! caller's sidecar is told not to repeat what has been repeated already.
//!
//! It is looked up by the trace's id alone, which any form of trace context carries, and costs nothing while nothing fails. An app that passes no
//! trace context on is one whose callers are not told.

use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::trace_context::TraceId;

/// Traces that are remembered at most.
const REMEMBERED: usize = 2048;

/// How long an app may take from a failure to its own.
const COUNTS: Duration = Duration::from_secs(10);

/// Requests of this trace have failed for good.
pub(super) fn failed(trace: TraceId) {
    *slot(trace).lock() = Some((trace, Instant::now()));
}

/// Says whether requests of this trace have failed for good, not long ago.
pub(super) fn has_failed(trace: TraceId) -> bool {
    slot(trace).lock().is_some_and(|(own, at)| own == trace && at.elapsed() < COUNTS)
}

fn slot(trace: TraceId) -> &'static Slot {
    // Half of an id may be the time or the same in all; both halves together are not.
    let bytes = trace.to_bytes();
    let folded = bytes.chunks(2).fold(0, |folded, pair| folded ^ (usize::from(pair[0]) << 8 | usize::from(pair[1])));
    &TRACES[folded % REMEMBERED]
}

type Slot = Mutex<Option<(TraceId, Instant)>>;

static TRACES: LazyLock<Box<[Slot]>> = LazyLock::new(|| (0..REMEMBERED).map(|_| Mutex::new(None)).collect());
