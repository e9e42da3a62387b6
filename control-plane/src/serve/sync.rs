//! `Sync`: one stream per sidecar.
//!
//! ```text
//! Hello ─▶ Welcome ─▶ what differs from `held` ─▶ (on each snapshot, Subscribe, Unsubscribe) what differs ─▶ …
//! ```
//! The difference is made when the sidecar is ready to read, against what was sent last: a slow reader skips what is
//! outdated and nothing queues up.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use outrigger_daemon::{Drain, VERSION};
use outrigger_identity::Peer;
use outrigger_proto::wire::sync_request::Message as Request;
use outrigger_proto::wire::sync_response::Message as Response;
use outrigger_proto::{Key, wire};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::call::{Answer, Encoded, Next};
use super::caller::Caller;
use super::metrics::Metrics;
use super::sidecars::{Connected, Sidecars};
use super::subscription::{Subscriptions, TooMany};
use crate::snapshot::Latest;

/// Opens streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    /// Where snapshots come from.
    pub(crate) latest: Latest,
    /// Who is connected.
    pub(crate) sidecars: Sidecars,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Ends all streams when it starts.
    pub(crate) drain: Drain,
    /// How long a stream may last, give or take a third; `None`: as long as the sidecar likes. With several replicas a
    /// stream that ends now and then is what spreads sidecars over a new one.
    pub(crate) lifetime: Option<Duration>,
}

impl Streams {
    pub(super) fn open(&self, caller: &Caller, requests: Streaming<wire::SyncRequest>) -> Result<Answer, Status> {
        let peer = caller.valid_leaf(SystemTime::now())?.peer.clone();
        let (responses, answer) = Answer::stream();
        let streams = self.clone();
        self.drain.spawn(async move {
            if let Err(status) = streams.run(peer, requests, &responses).await {
                // The sidecar may be gone; then nobody needs to know.
                let _ = responses.send(Box::new(Err(status))).await;
            }
        });
        Ok(answer)
    }

    async fn run(
        &self,
        peer: Peer,
        mut requests: Streaming<wire::SyncRequest>,
        responses: &mpsc::Sender<Next>,
    ) -> Result<(), Status> {
        // Boxed, and gone when it is done: what is kept for hours is the stream alone.
        let mut stream = Box::pin(self.greet(peer, &mut requests)).await?;
        // Before all objects are read, everything that the sidecar holds would seem to be gone.
        let going_away = || Status::unavailable("the control plane is going away: connect anew");
        let mut latest = self.latest.clone();
        tokio::select! {
            synced = latest.synced() => if !synced { return Err(going_away()) },
            () = responses.closed() => return Ok(()),
            () = self.drain.started() => return Err(going_away()),
        }
        let welcome = wire::Welcome { control_plane_version: VERSION.to_owned(), capabilities: Vec::new() };
        if responses.send(Box::new(Ok(response(Response::Welcome(welcome))))).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            ended = stream.serve(&mut requests, responses) => ended,
            // No failure: the sidecar connects anew, to any replica.
            () = old_age(self.lifetime) => Ok(()),
            () = self.drain.started() => Err(going_away()),
        }
    }

    async fn greet(&self, peer: Peer, requests: &mut Streaming<wire::SyncRequest>) -> Result<Stream, Status> {
        let late = |_| Status::deadline_exceeded("no Hello within 5 s");
        let first = tokio::time::timeout(HELLO_LIMIT, requests.message()).await.map_err(late)??;
        let Some(Request::Hello(hello)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message must be a Hello"));
        };
        let workload = peer.workload.clone().unwrap_or_default();
        let identity = peer.identity.clone();
        let sidecar_version: String = hello.sidecar_version.chars().take(64).collect();
        info!(%workload, %identity, sidecar_version, held = hello.held.len(), "sidecar connected");
        let connected = self.sidecars.connect(peer, sidecar_version, self.metrics.clone());
        let mut stream = Stream {
            subscriptions: Subscriptions::default(),
            connected,
            latest: self.latest.clone(),
            metrics: self.metrics.clone(),
            parts: VecDeque::new(),
            behind: true,
            asked: true,
        };
        stream.hello(hello)?;
        Ok(stream)
    }
}

async fn old_age(lifetime: Option<Duration>) {
    match lifetime {
        Some(lifetime) => tokio::time::sleep(spread(lifetime)).await,
        None => std::future::pending().await,
    }
}

/// Streams that began together do not end together.
fn spread(lifetime: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness all wait for the same time, which is no harm.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    lifetime.mul_f64(2.0 / 3.0 + f64::from(byte[0]) / 255.0 * 2.0 / 3.0)
}

/// One sidecar's stream after its Hello.
struct Stream {
    subscriptions: Subscriptions,
    connected: Connected,
    latest: Latest,
    metrics: Metrics,
    // Parts of one difference that are still to be sent.
    parts: VecDeque<wire::Update>,
    // Whether there may be a difference.
    behind: bool,
    // Whether the sidecar waits for an answer, even if that is "nothing differs".
    asked: bool,
}

impl Stream {
    async fn serve(
        &mut self,
        requests: &mut Streaming<wire::SyncRequest>,
        responses: &mpsc::Sender<Next>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                request = requests.message() => match request? {
                    Some(wire::SyncRequest { message: Some(message) }) => self.request(message)?,
                    Some(wire::SyncRequest { message: None }) => {} // of a newer sidecar
                    None => return Ok(()),
                },
                more = self.latest.changed(), if !self.behind => match more {
                    true => self.behind = true,
                    false => return Err(Status::unavailable("the control plane is going away: connect anew")),
                },
                permit = responses.reserve(), if self.behind || !self.parts.is_empty() => {
                    let Ok(permit) = permit else { return Ok(()) };
                    if let Some(update) = self.next_part() {
                        self.metrics.sent(update.resources.len());
                        permit.send(Box::new(Ok(response(Response::Update(update)))));
                    }
                }
            }
        }
    }

    fn hello(&mut self, hello: wire::Hello) -> Result<(), Status> {
        // A key of a newer sidecar names nothing here: it is as if it were not held.
        let held = hello.held.iter().filter_map(|held| Some((held.key.parse().ok()?, held.version)));
        let held: Vec<(Key, u64)> = held.collect();
        held.iter().for_each(|(key, version)| self.connected.follower.holds(&key.to_string(), *version));
        self.subscriptions.resume(held).map_err(too_many)?;
        self.subscribe(&hello.subscriptions)
    }

    fn request(&mut self, request: Request) -> Result<(), Status> {
        match request {
            Request::Hello(_) => return Err(Status::invalid_argument("a second Hello")),
            Request::Subscribe(wire::Subscribe { keys }) => self.subscribe(&keys)?,
            Request::Unsubscribe(wire::Unsubscribe { keys }) => {
                self.subscriptions.unsubscribe(keys.iter().filter_map(|key| key.parse().ok()));
                self.behind = true;
            }
            Request::Ack(wire::Ack { resources }) => {
                self.metrics.acked(resources.len());
                self.connected.update(|status| {
                    for wire::Held { key, version } in &resources {
                        status.acked(key, *version);
                    }
                });
                resources.iter().for_each(|held| self.connected.follower.acked(&held.key, held.version));
            }
            Request::Nack(wire::Nack { key, version, reason }) => {
                let (key, reason) = (short(&key), short(&reason));
                warn!(key, version = format!("{version:016x}"), reason, "a sidecar refused a resource");
                self.metrics.nacked();
                self.connected.update(|status| status.nacked(&key, version, &reason));
                let words = format!("{}: {reason}", self.connected.name());
                self.connected.follower.refused(&key, version, &words);
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, keys: &[String]) -> Result<(), Status> {
        let known = keys.iter().filter_map(|key| match key.parse::<Key>() {
            Ok(key) => Some(key),
            Err(error) => {
                debug!(%error, "a subscription to nothing"); // of a newer sidecar
                None
            }
        });
        self.subscriptions.subscribe(known).map_err(too_many)?;
        (self.behind, self.asked) = (true, true);
        self.connected.update(|status| status.subscriptions = self.subscriptions.roots());
        Ok(())
    }

    /// Returns what to send next, made of the latest snapshot when all parts of the last difference are out.
    fn next_part(&mut self) -> Option<wire::Update> {
        if self.parts.is_empty() && self.behind {
            let snapshot = self.latest.take();
            self.behind = false;
            self.parts = self.subscriptions.difference(&snapshot).into();
            if self.parts.is_empty() && self.asked {
                // So that the sidecar knows that it is up to date.
                self.parts.push_back(wire::Update { commit: true, ..wire::Update::default() });
            }
            self.asked = false;
            self.connected.update(|status| {
                status.subscriptions = self.subscriptions.roots();
                status.resources = self.subscriptions.held();
                let resources = self.parts.iter().flat_map(|part| &part.resources);
                status.sending(snapshot.version, resources.map(|resource| (resource.key.as_str(), resource.version)));
                self.parts.iter().flat_map(|part| &part.removed).for_each(|key| status.removed(key));
            });
            let follower = &mut self.connected.follower;
            self.parts.iter().flat_map(|part| &part.resources).for_each(|resource| follower.sent(&resource.key));
            self.parts.iter().flat_map(|part| &part.removed).for_each(|key| follower.removed(key));
        }
        self.parts.pop_front()
    }
}

fn response(message: Response) -> Encoded {
    Encoded::new(&wire::SyncResponse { message: Some(message) })
}

fn too_many(error: TooMany) -> Status {
    Status::resource_exhausted(error.to_string())
}

fn short(text: &str) -> String {
    text.chars().take(512).collect()
}

const HELLO_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_began_together_end_apart() {
        let lifetime = Duration::from_secs(3600);
        let ends: std::collections::BTreeSet<Duration> = (0..64).map(|_| spread(lifetime)).collect();

        assert!(ends.len() > 16, "{ends:?}");
        let (first, last) = (ends.first().unwrap(), ends.last().unwrap());
        assert!(*first >= lifetime * 2 / 3 && *last <= lifetime * 4 / 3, "{first:?} to {last:?}");
    }
}
