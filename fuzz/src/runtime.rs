//! A runtime for one input: one thread, and a clock that moves only when nothing else does, so that every run of an input is the same run.

use std::future::Future;

use tokio::time::Duration;

/// Longer than every time limit of what is tested.
const FOREVER: Duration = Duration::from_secs(100_000);

/// Runs `future` to its end, or until nothing moves any more: then `None`.
///
/// # Panics
/// If there is no memory for a runtime.
pub fn run<T>(future: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread").block_on(async { tokio::time::timeout(FOREVER, future).await.ok() })
}

/// Lets all tasks work until none can go on without the one that calls this.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
