//! Where snapshots are published, and how readers wait for the next.

use std::sync::Arc;

use tokio::sync::watch;

use crate::resource::Published;

/// Where the latest snapshot is published.
#[derive(Clone, Debug)]
pub struct Latest(watch::Receiver<Arc<Published>>);

impl Latest {
    /// Makes a publisher and its first reader.
    #[must_use]
    pub fn channel(first: Published) -> (watch::Sender<Arc<Published>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(first));
        (sender, Self(receiver))
    }

    /// Returns the latest snapshot, without marking it as seen.
    #[must_use]
    pub fn get(&self) -> Arc<Published> {
        self.0.borrow().clone()
    }

    /// Returns the latest snapshot and marks it as seen.
    pub fn take(&mut self) -> Arc<Published> {
        self.0.borrow_and_update().clone()
    }

    /// Completes when the sources have told what existed at the start; `false` when they never will.
    pub async fn synced(&mut self) -> bool {
        self.0.wait_for(|snapshot| snapshot.state.synced()).await.is_ok()
    }

    /// Completes when there is a snapshot that was not taken; `false` when there will be none.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
