//! The Kubernetes source: one watch for each kind, told as the same events as those of a folder.
//!
//! ```text
//! watch (one task a kind) ─News─▶ told: what differs from what was told before ─Event─▶ writer
//!   discovery, list, watch, relist, backoff          one owner of "known" and of errors
//! ```
//! While the API server is away nothing changes. An object that cannot be read is reported, and its last good version
//! stays. Kinds that the cluster does not have (the Gateway API) are looked for again and again.

mod kinds;
mod seen;
mod told;
mod watch;

use kube::Client;
use kube::core::ApiResource;
use outrigger_daemon::Drain;
use tokio::sync::mpsc;

use crate::objects::Kind;
use crate::state::Event;

use told::Told;

/// Watches until the drain starts or nobody listens.
pub(crate) async fn run(client: Client, events: mpsc::Sender<Vec<Event>>, drain: Drain) {
    let (news, mut received) = mpsc::channel(BATCH);
    watch::all(&client, &news, &drain);
    drop(news);
    let mut told = Told::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = drain.started() => return,
            count = received.recv_many(&mut batch, BATCH) => if count == 0 { return },
        }
        let mut changes = Vec::new();
        batch.drain(..).for_each(|(kind, news)| told.take(kind, news, &mut changes));
        told.finish(&mut changes);
        if !changes.is_empty() && events.send(changes).await.is_err() {
            return;
        }
    }
}

/// Returns how objects of a kind are asked for; `None` when the cluster has none such.
pub(crate) async fn resource_of(client: &Client, kind: Kind) -> Result<Option<ApiResource>, kube::Error> {
    match kinds::WATCHED.iter().find(|watched| watched.kind == kind) {
        Some(watched) => watched.find(client).await,
        None => Ok(None),
    }
}

/// Objects taken in at once.
const BATCH: usize = 256;
