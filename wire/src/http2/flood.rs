//! How much of one kind of nuisance a peer may make.

use tokio::time::{Duration, Instant};

/// Counts what costs us more than the peer. The clock is read only when the count is full, so that counting is free.
#[derive(Debug)]
pub(super) struct Flood {
    count: u32,
    most: u32,
    since: Instant,
}

impl Flood {
    /// At most `most` in a second.
    pub(super) fn new(most: u32) -> Self {
        Self { count: 0, most, since: Instant::now() }
    }

    /// One more; `false` if it is too much.
    pub(super) fn allows(&mut self) -> bool {
        self.count += 1;
        if self.count < self.most {
            return true;
        }
        let now = Instant::now();
        let soon = now - self.since < Duration::from_secs(1);
        self.since = now;
        self.count = 0;
        !soon
    }

    /// So many more at once; `false` if it is too much.
    pub(super) fn allows_all(&mut self, many: usize) -> bool {
        self.count =
            self.count.saturating_add(u32::try_from(many.saturating_sub(1)).unwrap_or(u32::MAX - 1)).min(self.most);
        many == 0 || self.allows()
    }

    /// Something useful came, which makes up for so many.
    pub(super) fn relieve(&mut self, many: u32) {
        self.count = self.count.saturating_sub(many);
    }
}
