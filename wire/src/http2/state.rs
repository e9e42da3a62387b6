//! A connection between its two sides: the streams, the windows and what waits to be written. The connection's task and the handles of its
//! streams work on it by turns, under one lock that nobody holds while waiting.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::error::{Error, Fatal, Reason};
use super::flood::Flood;
use super::frame;
use super::hpack::{Decoder, Encoder};
use super::late::Late;
use super::output::Output;
use super::ready::Ready;
use super::receive::Input;
use super::stream::{Key, Receiving, Streams};
use super::{Refusal, Settings};
use crate::aside;

/// The state behind its lock, and how to wake the task.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ready: Arc<Ready>,
    /// The client of some stream has ended its side: hardly any connection hears of that, and workers need not look.
    pub(super) ended: Arc<AtomicBool>,
    state: Mutex<State>,
}

impl Shared {
    pub(super) fn new(role: Role, settings: &Settings) -> Arc<Self> {
        let state = State::new(role, settings);
        Arc::new(Self {
            ready: Arc::new(Ready::new(state.max_slots())),
            ended: state.ended.clone(),
            state: Mutex::new(state),
        })
    }

    /// For the connection's task.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// For a handle: does `work`, and wakes whom it concerns when the lock is free again.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let done = work(&mut state);
        let stirred = std::mem::take(&mut state.stirred);
        let wakes = std::mem::take(&mut state.work.wakes);
        drop(state);
        if stirred {
            self.ready.notify();
        }
        wakes.into_iter().for_each(Waker::wake);
        done
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// What the connection's task has to do when the lock is free.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) arrived: Vec<Arrived>,
    /// The slots whose worker may go on, and the streams that need none any more.
    pub(super) poll: Vec<u32>,
    pub(super) abandon: Vec<Abandoned>,
    pub(super) wakes: Vec<Waker>,
    /// What the peer says with its GOAWAY.
    pub(super) told: Option<Box<[u8]>>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.is_empty()
            && self.poll.is_empty()
            && self.abandon.is_empty()
            && self.wakes.is_empty()
            && self.told.is_none()
    }

    /// Gives back what only much work at once needs.
    pub(super) fn rest(&mut self) {
        self.arrived.shrink_to_fit();
        self.poll.shrink_to_fit();
        self.abandon.shrink_to_fit();
        self.wakes.shrink_to_fit();
    }

    fn add(&mut self, other: &mut Self) {
        self.arrived.append(&mut other.arrived);
        self.poll.append(&mut other.poll);
        self.abandon.append(&mut other.abandon);
        self.wakes.append(&mut other.wakes);
        self.told = other.told.take().or_else(|| self.told.take());
    }
}

/// A stream that needs no worker any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned {
    pub(super) key: Key,
    /// The code with which the peer has reset it, if it has.
    pub(super) by: Option<Reason>,
}

/// A request to be served.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) key: Key,
    pub(super) request: Request<()>,
    pub(super) has_body: bool,
    pub(super) length: Option<u64>,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) enum Taken {
    Data { piece: Bytes, last: bool },
    Trailers(HeaderMap),
    End,
    Failed(Error),
    Nothing,
}

/// How far a server is with going away (RFC 9113 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The peer was told, but may not have heard it yet.
    Announced,
    /// No stream beyond the last is taken.
    Final,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) role: Role,
    pub(super) max_streams: usize,
    most_streams: usize,
    /// Requests whose response has not begun.
    pub(super) unanswered: usize,
    /// When the peer was given more streams, and that it has not acknowledged them.
    raised: Instant,
    pub(super) raising: bool,
    pub(super) max_head: usize,
    pub(super) stream_window: u32,
    grown_window: u32,
    connection_window: u32,
    /// By how much the windows of all streams may still grow.
    may_grow: u32,
    max_heads: usize,
    pub(super) refusal: Refusal,

    pub(super) out: Output,
    pub(super) streams: Streams,
    pub(super) work: Work,
    /// A handle did something that the connection's task must see to.
    pub(super) stirred: bool,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    pub(super) input: Input,

    /// The last stream that the peer opened, and the next one that this side opens.
    pub(super) last_peer: u32,
    pub(super) next_id: u32,
    /// Streams that this side ended before the peer had.
    pub(super) late: Late,
    /// Streams that this side reset lately: the peer is told once.
    reset_ids: VecDeque<u32>,
    /// What the heads and trailers of all streams take of memory; of that, what is free when the workers have had their turn.
    pub(super) heads: usize,
    heads_dropped: usize,

    /// What the peer allows.
    pub(super) peer_stream_window: i64,
    pub(super) peer_payload: usize,
    pub(super) peer_streams: usize,
    pub(super) peer_max_head: usize,
    /// What the peer holds for the window of a new stream.
    pub(super) first_window: i64,
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    taken: u32,
    /// Slots that wait for the connection's window, and for room in `out`.
    pub(super) blocked: VecDeque<u32>,
    pub(super) crowded: Vec<u32>,
    /// Requests that wait for the peer to take another stream, or for room in `out`; by their tickets.
    pub(super) waiting: VecDeque<(u64, Waker)>,
    /// Some of them wait for room.
    pub(super) wants_room: bool,
    pub(super) next_ticket: u64,

    pub(super) leaving: Leaving,
    pub(super) peer_leaving: Option<Reason>,
    pub(super) senders_gone: bool,
    pub(super) broken: Option<Error>,
    pub(super) ended: Arc<AtomicBool>,

    pub(super) resets: Flood,
    pub(super) offences: Flood,
    pub(super) glitches: Flood,
    pub(super) updates: Flood,
    pub(super) unsent_acks: u32,

    /// Since the timer last looked: frames came, a stream was opened.
    pub(super) heard: bool,
    pub(super) used: bool,
    /// Since when a PING is out.
    pub(super) pinged: Option<Instant>,
    /// The last stream whose head was given to the transport, and the last whose head is in what is being written.
    sent_last: u32,
    writing_last: u32,
}

impl State {
    fn new(role: Role, settings: &Settings) -> Self {
        let mut state = Self {
            role,
            max_streams: match role {
                Role::Server => settings.max_streams,
                Role::Client => settings.max_streams.max(settings.most_streams),
            } as usize,
            most_streams: settings.max_streams.max(settings.most_streams) as usize,
            unanswered: 0,
            raised: Instant::now(),
            raising: false,
            max_head: settings.max_head as usize,
            stream_window: settings.stream_window,
            grown_window: settings.grown_window.max(settings.stream_window),
            connection_window: settings.connection_window,
            may_grow: settings.connection_window / 4,
            max_heads: settings.max_heads,
            refusal: settings.refusal,
            out: Output::default(),
            streams: Streams::default(),
            work: Work::default(),
            stirred: false,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            input: Input::new(role),
            last_peer: 0,
            next_id: 1,
            late: Late::default(),
            reset_ids: VecDeque::new(),
            heads: 0,
            heads_dropped: 0,
            peer_stream_window: frame::FIRST_WINDOW,
            peer_payload: frame::MAX_PAYLOAD,
            peer_streams: STREAMS_AT_FIRST,
            peer_max_head: usize::MAX,
            first_window: frame::FIRST_WINDOW,
            send_window: frame::FIRST_WINDOW,
            receive_window: frame::FIRST_WINDOW,
            taken: 0,
            blocked: VecDeque::new(),
            crowded: Vec::new(),
            waiting: VecDeque::new(),
            wants_room: false,
            next_ticket: 0,
            leaving: Leaving::No,
            peer_leaving: None,
            senders_gone: false,
            broken: None,
            ended: Arc::default(),
            resets: Flood::new(settings.max_resets),
            offences: Flood::new(MAX_OFFENCES),
            glitches: Flood::new(MAX_GLITCHES),
            updates: Flood::new(MAX_UPDATES),
            unsent_acks: 0,
            heard: false,
            used: false,
            pinged: None,
            sent_last: 0,
            writing_last: 0,
        };
        state.greet(settings);
        state
    }

    fn greet(&mut self, settings: &Settings) {
        let out = self.out.frames();
        let first = match self.role {
            Role::Server => (frame::MAX_CONCURRENT_STREAMS, settings.max_streams),
            Role::Client => {
                out.extend_from_slice(frame::PREFACE);
                (frame::ENABLE_PUSH, 0)
            }
        };
        let window = (frame::INITIAL_WINDOW_SIZE, settings.stream_window);
        frame::settings(out, &[first, window, (frame::MAX_HEADER_LIST_SIZE, settings.max_head)]);
        let more = i64::from(settings.connection_window) - frame::FIRST_WINDOW;
        if let Ok(more) = u32::try_from(more)
            && more > 0
        {
            frame::window_update(out, 0, more);
            self.receive_window += i64::from(more);
        }
    }

    /// A stream's slot may outlive the stream while somebody still reads, but not without bounds.
    pub(super) fn max_slots(&self) -> usize {
        self.most_streams * 2
    }

    /// Gives a peer more streams that uses those it has: at once when most of them are being answered, else slowly, so that a flood is none the
    /// larger for it.
    pub(super) fn give_streams(&mut self) {
        if self.max_streams >= self.most_streams
            || self.raising
            || self.streams.open() + STREAMS_LEFT < self.max_streams
        {
            return;
        }
        let now = Instant::now();
        let pressing = self.unanswered > STREAMS_STEP / 2 || self.heads > self.max_heads / 2;
        if pressing && now - self.raised < STREAMS_PACE {
            return;
        }
        self.raised = now;
        self.raising = true;
        self.max_streams = (self.max_streams + STREAMS_STEP).min(self.most_streams);
        let most = u32::try_from(self.max_streams).unwrap_or(u32::MAX);
        frame::settings(self.out.frames(), &[(frame::MAX_CONCURRENT_STREAMS, most)]);
        self.stirred = true;
    }

    /// The response of a stream has begun, or will not.
    pub(super) fn answered(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && std::mem::take(&mut stream.unanswered)
        {
            self.unanswered -= 1;
        }
    }

    /// Hands what there is to do to the connection's task.
    pub(super) fn add_work(&mut self, work: &mut Work) {
        self.stirred = false;
        self.unblock_some();
        if self.work.is_empty() {
            return;
        }
        work.add(&mut self.work);
        work.arrived.retain(|arrived| {
            let live = self.streams.get(arrived.key).is_some_and(|stream| stream.open);
            if !live {
                self.drop_reader(arrived.key);
            }
            live
        });
    }

    /// Hands what waits to be written to the connection's task, whose `out` is written.
    pub(super) fn take_output(&mut self, out: &mut Output) {
        std::mem::swap(&mut self.out, out);
        self.unsent_acks = 0;
        self.writing_last = self.next_id.saturating_sub(2);
        for slot in self.crowded.drain(..) {
            if let Some(stream) = self.streams.in_slot(slot) {
                stream.crowded = false;
                self.work.poll.push(slot);
            }
        }
        if std::mem::take(&mut self.wants_room) {
            self.work.wakes.extend(self.waiting.drain(..).map(|(_, waker)| waker));
        }
    }

    /// Whether so much waits to be written that nothing is read which could add to it.
    pub(super) fn is_full(&self) -> bool {
        self.out.length() >= FULL
    }

    /// Some of what `take_output` gave has left.
    pub(super) fn sent(&mut self) {
        self.sent_last = self.writing_last;
    }

    /// Takes what came of a body; `waker` is woken when there is more.
    pub(super) fn take(&mut self, key: Key, waker: &Waker) -> Taken {
        let Some(stream) = self.streams.get(key) else { return Taken::Failed(Error::Ended) };
        if let Some(piece) = stream.data.pop() {
            let ended = stream.receiving == Receiving::Ended;
            let last = ended && stream.data.is_empty() && stream.fault.is_none() && stream.trailers.is_none();
            let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            if !ended {
                self.release_stream(key, length);
            }
            self.release(length);
            if last {
                self.reader_done(key);
            }
            return Taken::Data { piece, last };
        }
        if let Some(trailers) = stream.trailers.take() {
            self.heads -= std::mem::take(&mut stream.trailers_memory);
            self.reader_done(key);
            return Taken::Trailers(trailers);
        }
        if stream.receiving != Receiving::Ended {
            keep(&mut stream.waker, waker);
            return Taken::Nothing;
        }
        let fault = stream.fault.clone();
        self.reader_done(key);
        fault.map_or(Taken::End, Taken::Failed)
    }

    /// The reader has all there was.
    pub(super) fn reader_done(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key) {
            stream.reader = false;
            stream.waker = None;
        }
        self.free(key);
    }

    /// Nobody reads any more what is to come.
    pub(super) fn drop_reader(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.reader = false;
        stream.waker = None;
        stream.head = None;
        stream.trailers = None;
        self.heads -= std::mem::take(&mut stream.trailers_memory);
        if self.role == Role::Client {
            self.heads -= std::mem::take(&mut stream.head_memory);
        }
        let mut unread = 0;
        while let Some(piece) = stream.data.pop() {
            unread += u32::try_from(piece.len()).unwrap_or(u32::MAX);
        }
        let open = stream.open;
        let sending = stream.sending;
        self.release(unread);
        match self.role {
            // What a client's reset has said is passed on.
            Role::Client if open => self.reset(key, aside::broken().unwrap_or(Reason::CANCEL), Error::GivenUp),
            // Only a tunnel comes here: all else was reset when its response ended.
            Role::Server if open && !sending => self.reset(key, Reason::CANCEL, Error::GivenUp),
            Role::Client | Role::Server => self.free(key),
        }
    }

    /// Gives back to the peer what a reader took, or what nobody wants, in large steps.
    pub(super) fn release(&mut self, length: u32) {
        self.taken += length;
        if self.taken >= self.connection_window / 2 {
            frame::window_update(self.out.frames(), 0, self.taken);
            self.receive_window += i64::from(self.taken);
            self.taken = 0;
            self.stirred = true;
        }
    }

    pub(super) fn release_stream(&mut self, key: Key, length: u32) {
        let window = self.stream_window;
        let Some(stream) = self.streams.get(key) else { return };
        stream.taken += length;
        if stream.taken > 0 && stream.taken >= (window + stream.grown) / 2 {
            // The reader keeps up: what it has taken is doubled, until the window is as large as it may be.
            let more = stream.taken.min(self.grown_window - window - stream.grown).min(self.may_grow);
            self.may_grow -= more;
            stream.grown += more;
            frame::window_update(self.out.frames(), key.id, stream.taken + more);
            stream.receive_window += i64::from(stream.taken + more);
            stream.taken = 0;
            self.stirred = true;
        }
    }

    /// Whether the heads of the streams leave room for one that takes `memory`; the first always has it.
    pub(super) fn has_room_for_head(&self, memory: usize) -> bool {
        self.heads == 0 || self.heads + memory <= self.max_heads
    }

    /// A head or trailers are held for a stream; returns what that takes, to be given back with them.
    pub(super) fn hold_head(&mut self, memory: usize) -> usize {
        self.heads += memory;
        memory
    }

    /// What was held for a head is free.
    pub(super) fn let_head_go(&mut self, memory: usize) {
        self.heads -= memory;
    }

    /// The workers have had their turn: what they held for streams that are over is dropped.
    pub(super) fn workers_rested(&mut self) {
        self.heads -= std::mem::take(&mut self.heads_dropped);
    }

    /// Ends the stream for a reason of this side's.
    pub(super) fn reset(&mut self, key: Key, reason: Reason, fault: Error) {
        if let Some(stream) = self.streams.get(key)
            && stream.receiving != Receiving::Ended
        {
            // The peer may count with the whole window before this side knows that it does.
            let window = stream.receive_window.max(i64::from(self.stream_window + stream.grown));
            self.late.cut(key.id, window);
        }
        self.reset_id(key.id, reason);
        self.abandon(key, fault);
    }

    /// Tells the peer that a stream is over which may never have been one here.
    pub(super) fn reset_id(&mut self, id: u32, reason: Reason) {
        frame::reset(self.out.frames(), id, reason);
        if self.reset_ids.len() == RESETS_REMEMBERED {
            self.reset_ids.pop_front();
        }
        self.reset_ids.push_back(id);
        self.stirred = true;
    }

    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.reset_ids.contains(&id)
    }

    /// The stream is over before its end: whoever reads gets `fault`, and whoever works for it stops.
    pub(super) fn abandon(&mut self, key: Key, fault: Error) {
        let Some(stream) = self.streams.get(key) else { return };
        let by = if let Error::Reset { reason } = &fault { Some(*reason) } else { None };
        stream.sending = false;
        if stream.receiving != Receiving::Ended {
            stream.receiving = Receiving::Ended;
            stream.fault = Some(fault);
            // They would make a body whole that has failed.
            stream.trailers = None;
            self.heads -= std::mem::take(&mut stream.trailers_memory);
        }
        if std::mem::take(&mut stream.worker) {
            self.work.abandon.push(Abandoned { key, by });
            self.stirred = true;
        }
        self.work.wakes.extend(stream.waker.take());
        self.close(key);
    }

    pub(super) fn close_if_over(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.open && !stream.sending && stream.receiving == Receiving::Ended {
            self.close(key);
        }
    }

    fn close(&mut self, key: Key) {
        if self.role == Role::Server
            && let Some(stream) = self.streams.get(key)
        {
            self.heads_dropped += std::mem::take(&mut stream.head_memory);
        }
        self.answered(key);
        self.may_grow += self.streams.close(key);
        self.free(key);
        self.wake_waiting();
        // The last stream of a connection that goes away ends it.
        self.stirred |= self.streams.open() == 0;
    }

    fn free(&mut self, key: Key) {
        if self.streams.free_if_unused(key) {
            self.wake_waiting();
        }
    }

    pub(super) fn wake_waiting(&mut self) {
        if let Some((_, waker)) = self.waiting.pop_front() {
            self.work.wakes.push(waker);
        }
    }

    /// The connection is over: all that is open fails with `error`.
    pub(super) fn fail(&mut self, error: &Error) {
        self.broken.get_or_insert_with(|| error.clone());
        let keys: Vec<Key> = self.streams.iter_mut().map(|(key, _)| key).collect();
        for key in keys {
            let unsent = self.role == Role::Client && key.id > self.sent_last;
            self.abandon(key, if unsent { Error::Unsent } else { error.clone() });
        }
        self.work.wakes.extend(self.waiting.drain(..).map(|(_, waker)| waker));
    }

    /// The peer broke the connection: says so and fails.
    pub(super) fn offend(&mut self, fatal: Fatal) {
        frame::go_away(self.out.frames(), self.last_peer, fatal.reason, b"");
        self.fail(&fatal.into());
    }

    /// Begins to go away: the peer is told, and asked to say that it has heard.
    pub(super) fn leave(&mut self, debug: &'static [u8]) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            frame::go_away(self.out.frames(), frame::MAX_ID, Reason::NO_ERROR, debug);
            frame::ping(self.out.frames(), 0, DRAIN_PING);
        }
    }

    pub(super) fn leave_for_good(&mut self) {
        if self.leaving == Leaving::Announced {
            self.leaving = Leaving::Final;
            frame::go_away(self.out.frames(), self.last_peer, Reason::NO_ERROR, b"");
        }
    }

    /// Whether no stream will be opened any more and none is.
    pub(super) fn is_over(&self) -> bool {
        let last = match self.role {
            Role::Server => self.leaving == Leaving::Final || self.peer_leaving.is_some(),
            Role::Client => self.senders_gone || self.peer_leaving.is_some(),
        };
        last && self.streams.open() == 0
    }

    /// Whether this side may open no more streams.
    pub(super) fn is_closed(&self) -> bool {
        self.broken.is_some() || self.peer_leaving.is_some() || self.next_id > frame::MAX_ID
    }

    /// Gives back what a quiet connection needs not.
    pub(super) fn rest(&mut self) {
        self.streams.rest();
        self.out.rest();
        self.decoder.rest();
        self.input.rest();
        self.work.rest();
        self.late.rest();
        self.reset_ids.shrink_to_fit();
        self.blocked.shrink_to_fit();
        self.crowded.shrink_to_fit();
    }
}

/// Keeps `waker` in `place`, without a copy if it is there already.
pub(super) fn keep(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(held) if held.will_wake(waker) => {}
        Some(held) => held.clone_from(waker),
        None => *place = Some(waker.clone()),
    }
}

pub(super) const DRAIN_PING: [u8; 8] = *b"draining";
pub(super) const ALIVE_PING: [u8; 8] = *b"who goes";

/// By how many streams a peer's number grows, and how few it has left before.
const STREAMS_STEP: usize = 256;
const STREAMS_LEFT: usize = 64;
/// How often it grows for one whose requests are not being answered.
const STREAMS_PACE: Duration = Duration::from_secs(1);
/// How many streams a peer is taken to allow before it says so: what RFC 9113 §6.5.2 recommends as the least.
const STREAMS_AT_FIRST: usize = 100;
/// Streams reset in a second for the peer's mistakes, of which it should make none: each costs a request (CVE-2025-8671).
const MAX_OFFENCES: u32 = 500;
/// Frames in a second that bring nothing.
const MAX_GLITCHES: u32 = 5_000;
/// WINDOW_UPDATE frames in a second, beyond some for each frame of DATA.
const MAX_UPDATES: u32 = 5_000;
/// Bodies and heads stop long before (see `send::ENOUGH`): only answers to frames come so far, and of those an honest peer makes few. So two
/// peers cannot both stop reading because the other does.
const FULL: usize = 256 << 10;
const RESETS_REMEMBERED: usize = 64;
