//! `Sync`: one stream per sidecar.
//!
//! ```text
//! Hello ─▶ Welcome ─▶ what differs from `held` ─▶ (on each snapshot, Subscribe, Unsubscribe) what differs ─▶ …
//! ```
//! The difference is made when the sidecar is ready to read, against what was sent last: a slow reader skips what is
//! outdated and nothing queues up. What a sidecar asks for is paid for from its workload's budget: whoever asks for much is read
//! more slowly, and what is asked for already is not answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body::Body;
use outrigger_daemon::{Drain, VERSION};
use outrigger_identity::Peer;
use outrigger_proto::wire::sync_request::Message;
use outrigger_proto::wire::sync_response::Message as Response;
use outrigger_proto::{Key, wire};
use tokio::time::Instant;
use tonic::Status;
use tracing::{debug, info, warn};

use super::call::{Answer, Encoded, Request};
use super::caller::Caller;
use super::metrics::Metrics;
use super::reporting::Reporting;
use super::share::{Memory, Share, StreamPlace};
use super::sidecars::{Connected, Sidecars};
use super::subscription::{Difference, Subscriptions, TooMany};
use crate::latest::Latest;
use crate::observed::Observed;

/// Opens streams.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Where snapshots come from.
    pub(crate) latest: Latest,
    /// Who is connected.
    pub(crate) sidecars: Sidecars,
    /// What sidecars report.
    pub(crate) observed: Observed,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Ends all streams when it starts.
    pub(crate) drain: Drain,
    /// How long a stream may last, give or take a third; `None`: as long as the sidecar likes. With several replicas a
    /// stream that ends now and then is what spreads sidecars over a new one.
    pub(crate) lifetime: Option<Duration>,
}

impl Streams {
    pub(super) fn open(self: &Arc<Self>, caller: &Caller, mut requests: Requests) -> Result<Answer, Status> {
        let peer = caller.valid_leaf(SystemTime::now())?.peer.clone();
        let place = caller.share()?.stream()?;
        requests.count(place.memory());
        let call = Call { streams: self.clone(), requests, stage: Stage::Opened(peer, Some(place)) };
        Ok(Answer::stream(unfold(call, |mut call| async move {
            call.next().await.transpose().map(|message| (message, call))
        })))
    }
}

/// What a sidecar sends.
pub(super) type Requests = Request<wire::SyncRequest>;

/// One call: it is at work when its sidecar is ready to read, and dropped when the sidecar is gone.
struct Call {
    streams: Arc<Streams>,
    requests: Requests,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "a call is at the large one nearly all of its life")]
enum Stage {
    Opened(Peer, Option<StreamPlace>),
    Welcomed { stream: Stream, ends: Option<Instant> },
}

impl Call {
    /// Returns what to send next; `None` when the call ends well.
    async fn next(&mut self) -> Result<Option<Encoded>, Status> {
        match &mut self.stage {
            Stage::Opened(peer, place) => {
                let Some(place) = place.take() else { return Ok(None) };
                // Boxed, and gone when it is done: what is kept for hours is the stream alone.
                let stream = Box::pin(self.streams.greet(peer.clone(), place, &mut self.requests)).await?;
                let ends = self.streams.lifetime.map(|lifetime| Instant::now() + spread(lifetime));
                self.stage = Stage::Welcomed { stream, ends };
                let welcome = wire::Welcome { control_plane_version: VERSION.to_owned(), capabilities: Vec::new() };
                Ok(Some(response(Response::Welcome(welcome))))
            }
            Stage::Welcomed { stream, ends } => tokio::select! {
                update = stream.next(&mut self.requests) => update,
                // No failure: the sidecar connects anew, to any replica.
                () = old_age(*ends) => Ok(None),
                () = self.streams.drain.started() => Err(going_away()),
            },
        }
    }
}

impl Streams {
    async fn greet(&self, peer: Peer, place: StreamPlace, requests: &mut Requests) -> Result<Stream, Status> {
        place.share().ready().await;
        place.share().pay(COST_OF_STREAM);
        let late = |_| Status::deadline_exceeded("no Hello within 5 s");
        let first = tokio::time::timeout(HELLO_LIMIT, requests.message()).await.map_err(late)??;
        let Some(Message::Hello(hello)) = first.and_then(|request| request.message) else {
            return Err(Status::invalid_argument("the first message must be a Hello"));
        };
        let workload = peer.workload.clone().unwrap_or_default();
        let identity = peer.identity.clone();
        let sidecar_version: String = hello.sidecar_version.chars().take(64).collect();
        info!(%workload, %identity, sidecar_version, held = hello.held.len(), "sidecar connected");
        let reporting = Reporting::new(&self.observed, place.share().workload().clone(), &peer, &hello);
        let connected = self.sidecars.connect(peer, sidecar_version, self.metrics.clone());
        let mut stream = Stream {
            subscriptions: Subscriptions::default(),
            memory: place.memory(),
            place,
            connected,
            reporting,
            latest: self.latest.clone(),
            metrics: self.metrics.clone(),
            parts: VecDeque::new(),
            behind: true,
            asked: true,
            charged: true,
        };
        stream.hello(hello)?;
        // Before all objects are read, everything that the sidecar holds would seem to be gone.
        tokio::select! {
            synced = stream.latest.synced() => if synced { Ok(stream) } else { Err(going_away()) },
            () = self.drain.started() => Err(going_away()),
        }
    }
}

fn going_away() -> Status {
    Status::unavailable("the control plane is going away: connect anew")
}

async fn old_age(ends: Option<Instant>) {
    match ends {
        Some(ends) => tokio::time::sleep_until(ends).await,
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
    // What they take, among all that is held for the workload.
    memory: Memory,
    place: StreamPlace,
    connected: Connected,
    reporting: Reporting,
    latest: Latest,
    metrics: Metrics,
    // Parts of one difference that are still to be sent.
    parts: VecDeque<wire::Update>,
    // Whether there may be a difference.
    behind: bool,
    // Whether the sidecar waits for an answer, even if that is "nothing differs".
    asked: bool,
    // Whether it is the sidecar that the next difference is made for, and not a change.
    charged: bool,
}

impl Stream {
    /// Follows the sidecar and the snapshots until there is something to send; `None` when the sidecar ends the call.
    async fn next(&mut self, requests: &mut Requests) -> Result<Option<Encoded>, Status> {
        loop {
            if let Some(update) = self.next_part()? {
                self.metrics.sent(update.resources.len());
                return Ok(Some(response(Response::Update(update))));
            }
            tokio::select! {
                request = paced(self.place.share(), requests) => match request? {
                    Some(wire::SyncRequest { message: Some(message) }) => self.request(message)?,
                    Some(wire::SyncRequest { message: None }) => {} // of a newer sidecar
                    None => return Ok(None),
                },
                more = self.latest.changed() => match more {
                    true => self.behind = true,
                    false => return Err(going_away()),
                },
                observe = self.reporting.asked() => return Ok(Some(response(Response::Observe(observe)))),
            }
        }
    }

    fn hello(&mut self, hello: wire::Hello) -> Result<(), Status> {
        // A key of a newer sidecar names nothing here: it is as if it were not held.
        let held = hello.held.iter().filter_map(|held| Some((held.key.parse().ok()?, held.version)));
        let held: Vec<(Key, u64)> = held.collect();
        self.subscriptions.resume(held.iter().cloned()).map_err(too_many)?;
        self.weigh()?;
        held.iter().for_each(|(key, version)| self.connected.follower.holds(&key.to_string(), *version));
        self.subscribe(&hello.subscriptions)?;
        (self.behind, self.asked, self.charged) = (true, true, true);
        Ok(())
    }

    fn request(&mut self, message: Message) -> Result<(), Status> {
        match message {
            Message::Hello(_) => return Err(Status::invalid_argument("a second Hello")),
            Message::Subscribe(wire::Subscribe { keys }) => self.subscribe(&keys)?,
            Message::Unsubscribe(wire::Unsubscribe { keys }) => {
                if self.subscriptions.unsubscribe(keys.iter().filter_map(|key| key.parse().ok())) {
                    (self.behind, self.charged) = (true, true);
                }
            }
            Message::Ack(wire::Ack { resources }) => {
                self.metrics.acked(resources.len());
                self.connected.update(|status| {
                    for wire::Held { key, version } in &resources {
                        status.acked(key, *version);
                    }
                });
                resources.iter().for_each(|held| self.connected.follower.acked(&held.key, held.version));
            }
            Message::Nack(wire::Nack { key, version, reason }) => {
                let (key, reason) = (short(&key), short(&reason));
                if !key.parse().is_ok_and(|key| self.subscriptions.holds(&key)) {
                    debug!(key, "a sidecar refused what it was not sent");
                    return Ok(());
                }
                warn!(key, version = format!("{version:016x}"), reason, "a sidecar refused a resource");
                self.metrics.nacked();
                self.connected.update(|status| status.nacked(&key, version, &reason));
                let words = format!("{}: {reason}", self.connected.name());
                self.connected.follower.refused(&key, version, &words);
            }
            Message::Report(report) => self.reporting.take(&self.latest.get(), &report),
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
        if self.subscriptions.subscribe(known).map_err(too_many)? {
            (self.behind, self.asked, self.charged) = (true, true, true);
            self.weigh()?;
        }
        self.connected.update(|status| status.subscriptions = self.subscriptions.roots());
        Ok(())
    }

    fn weigh(&mut self) -> Result<(), Status> {
        Ok(self.memory.set(self.subscriptions.weight())?)
    }

    /// Returns what to send next, made of the latest snapshot when all parts of the last difference are out.
    fn next_part(&mut self) -> Result<Option<wire::Update>, Status> {
        if self.parts.is_empty() && self.behind {
            let snapshot = self.latest.take();
            self.behind = false;
            let Difference { updates, looked_at } = self.subscriptions.difference(&snapshot);
            if std::mem::take(&mut self.charged) {
                self.place.share().pay(looked_at);
            }
            self.weigh()?;
            self.parts = updates.into();
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
        let part = self.parts.pop_front();
        if self.parts.is_empty() {
            self.parts = VecDeque::new(); // gives its memory back
        }
        Ok(part)
    }
}

/// Returns the sidecar's next message when its workload may ask for more. Nothing is lost when it is dropped before it completes.
async fn paced<B>(
    share: &Share,
    requests: &mut Request<wire::SyncRequest, B>,
) -> Result<Option<wire::SyncRequest>, Status>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    share.ready().await;
    let request = requests.message().await?;
    if let Some(request) = &request {
        share.pay(cost(request.message.as_ref()));
    }
    Ok(request)
}

/// What it takes to read a message and to see what is new in it. What follows from it is paid for when it is done.
fn cost(message: Option<&Message>) -> usize {
    COST_OF_MESSAGE
        + match message {
            None => 0,
            Some(Message::Hello(hello)) => hello.subscriptions.len() + hello.held.len(),
            Some(Message::Subscribe(wire::Subscribe { keys }) | Message::Unsubscribe(wire::Unsubscribe { keys })) => {
                keys.len()
            }
            Some(Message::Ack(ack)) => ack.resources.len(),
            Some(Message::Nack(_)) => COST_OF_NACK,
            Some(Message::Report(report)) => COST_OF_EDGE * report.edges.len(),
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

/// In resources looked at, as all work is counted.
const COST_OF_MESSAGE: usize = 4;

/// It is noted, logged and told to the other replicas.
const COST_OF_NACK: usize = 512;

/// Its names are looked up, its counters compared with those before.
const COST_OF_EDGE: usize = 2;

/// Two lines in the log, and a place in the tables.
const COST_OF_STREAM: usize = 256;

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::serve::call::MAX_MESSAGE;
    use crate::serve::share::WORK;

    #[tokio::test(start_paused = true)]
    async fn whoever_sends_without_end_is_read_at_the_pace_of_its_budget() {
        // Empty Subscribes: the cheapest to send.
        let frame = Bytes::from_static(b"\0\0\0\0\x02\x12\x00");
        let endless =
            futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(Frame::data(frame.clone())));
        let mut requests = Request::new(StreamBody::new(Box::pin(endless)), MAX_MESSAGE);
        let share = Share::new("shop/web-1".into());

        let mut read = 0;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let message = paced(&share, &mut requests).await.unwrap().unwrap().message;
            assert_eq!(message, Some(Message::Subscribe(wire::Subscribe::default())));
            read += 1;
        }

        let budget = WORK.at_once + 20 * WORK.per_second;
        assert!((budget / 5..=budget / 4 + 1).contains(&read), "{read}");
    }

    #[test]
    fn streams_that_began_together_end_apart() {
        let lifetime = Duration::from_secs(3600);
        let ends: std::collections::BTreeSet<Duration> = (0..64).map(|_| spread(lifetime)).collect();

        assert!(ends.len() > 16, "{ends:?}");
        let (first, last) = (ends.first().unwrap(), ends.last().unwrap());
        assert!(*first >= lifetime * 2 / 3 && *last <= lifetime * 4 / 3, "{first:?} to {last:?}");
    }
}
