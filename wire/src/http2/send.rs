//! Frames out: heads, bodies as far as the windows reach, and trailers.

use std::task::Waker;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, request};

use super::error::{Error, Reason};
use super::frame;
use super::hpack::FIELD_OVERHEAD;
use super::state::{Role, State, keep};
use super::stream::{Key, Receiving, Stream};

/// What comes after the data at hand.
#[derive(Debug)]
pub(super) enum After {
    /// The body was not asked yet, or had no answer.
    Unknown,
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// The body failed; the reason, when another stream's reset was the cause.
    Failure(Option<Reason>),
}

/// How far the writing of a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// All that was at hand.
    All,
    /// A window is shut or too much waits already; the worker is polled when that has changed.
    Blocked,
    /// Nothing, not even the head, for so much waits already; the worker is polled when that has changed.
    Nothing,
    /// The stream is over.
    Over,
}

/// What became of a request that wants a stream.
#[derive(Debug)]
pub(super) enum Opening {
    Opened(Key, Wrote),
    /// The peer takes no more for now.
    Wait,
    /// It never will.
    Closed,
    /// Its head is larger than the peer takes.
    TooLarge {
        /// What it has, counted as RFC 9113 §6.5.2 says.
        size: usize,
        /// What the peer takes.
        most: usize,
    },
}

impl State {
    /// Opens a stream for a request, and writes what is at hand of its body.
    /// `empty`: there never was a body.
    pub(super) fn open(&mut self, parts: &request::Parts, empty: bool, data: &mut Bytes, after: &mut After) -> Opening {
        if self.is_closed() {
            return Opening::Closed;
        }
        // Most peers take more than this side does, or do not say.
        if self.peer_max_head < self.max_head + ADDED {
            let size = list_size(parts);
            if size > self.peer_max_head {
                return Opening::TooLarge { size, most: self.peer_max_head };
            }
        }
        // A head takes of no window: a peer that does not read shall not have them pile up.
        if self.out.length() >= ENOUGH {
            self.wants_room = true;
            return Opening::Wait;
        }
        let most = self.peer_streams.min(self.max_streams);
        if self.streams.open() >= most || self.streams.used() >= self.max_slots() {
            return Opening::Wait;
        }
        let id = self.next_id;
        self.next_id += 2;
        self.used = true;
        self.stirred = true;
        let (send_window, receive_window) = (self.peer_stream_window, self.first_window);
        self.late.opened(id);
        let (key, stream) = self.streams.insert(id);
        stream.receiving = Receiving::Head;
        stream.reader = true;
        stream.sending = true;
        stream.tunnel = parts.method == Method::CONNECT;
        stream.head_only = parts.method == Method::HEAD;
        stream.send_window = send_window;
        stream.receive_window = receive_window;

        let begin = self.begin_block();
        self.encoder.request(parts, self.out.frames());
        // Where a body ends that had nothing to say, DATA says so: servers of gRPC wait for it, as its specification of HTTP/2 lets them.
        self.out.finish_block(begin, id, empty, self.peer_payload);
        if empty {
            self.send_ended(key);
            return Opening::Opened(key, Wrote::Over);
        }
        Opening::Opened(key, self.write(key, data, after))
    }

    /// The driver shall go on with the body; `false` if the stream needs none any more.
    pub(super) fn hand_over(&mut self, key: Key) -> bool {
        self.stirred = true;
        match self.streams.get(key) {
            Some(stream) if stream.open && stream.sending => {
                stream.worker = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Lets a request wait for its turn; `ticket` is its own.
    pub(super) fn wait(&mut self, ticket: &mut Option<u64>, waker: &Waker) {
        if let Some((_, held)) = self.waiting.iter_mut().find(|(other, _)| Some(*other) == *ticket) {
            held.clone_from(waker);
            return;
        }
        // One that had its turn and came too late has its place again.
        if let Some(ticket) = *ticket {
            let place = self.waiting.partition_point(|(other, _)| *other < ticket);
            self.waiting.insert(place, (ticket, waker.clone()));
            return;
        }
        *ticket = Some(self.next_ticket);
        self.waiting.push_back((self.next_ticket, waker.clone()));
        self.next_ticket += 1;
    }

    /// A request does not wait any more, with its stream or without.
    pub(super) fn stop_waiting(&mut self, ticket: u64, opened: bool) {
        let before = self.waiting.len();
        self.waiting.retain(|(other, _)| *other != ticket);
        // It had been woken: its turn is another's.
        if before == self.waiting.len() && !opened {
            self.wake_waiting();
        }
    }

    /// Writes the head of a response, and what is at hand of its body, if there is room for them. The head of the request is no longer held.
    pub(super) fn respond(
        &mut self,
        key: Key,
        head: (StatusCode, &HeaderMap),
        data: &mut Bytes,
        after: &mut After,
    ) -> Wrote {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.sending) else { return Wrote::Over };
        self.heads -= std::mem::take(&mut stream.head_memory);
        if self.out.length() >= ENOUGH {
            crowd(&mut self.crowded, stream, key);
            return Wrote::Nothing;
        }
        self.write_head(key, head, data, after)
    }

    /// The same, however much waits already.
    pub(super) fn write_head(
        &mut self,
        key: Key,
        (status, headers): (StatusCode, &HeaderMap),
        data: &mut Bytes,
        after: &mut After,
    ) -> Wrote {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.sending) else { return Wrote::Over };
        if std::mem::take(&mut stream.unanswered) {
            self.unanswered -= 1;
        }
        if stream.head_only {
            *data = Bytes::new();
            *after = After::End;
        }
        let begin = self.begin_block();
        self.encoder.response(status, headers, self.out.frames());
        let end = data.is_empty() && matches!(after, After::End);
        self.out.finish_block(begin, key.id, end, self.peer_payload);
        if end {
            self.send_ended(key);
            return Wrote::Over;
        }
        self.give_streams();
        self.write(key, data, after)
    }

    /// Writes what is at hand of a body, as far as the windows reach.
    pub(super) fn write(&mut self, key: Key, data: &mut Bytes, after: &mut After) -> Wrote {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.sending) else { return Wrote::Over };
        self.stirred = true;
        loop {
            if !data.is_empty() {
                if self.out.length() >= ENOUGH {
                    crowd(&mut self.crowded, stream, key);
                    return Wrote::Blocked;
                }
                let window = self.send_window.min(stream.send_window);
                let length = data.len().min(self.peer_payload).min(usize::try_from(window).unwrap_or(0));
                if length == 0 {
                    stream.blocked = stream.send_window <= 0;
                    if self.send_window <= 0 && !std::mem::replace(&mut stream.queued, true) {
                        self.blocked.push_back(key.slot);
                    }
                    return Wrote::Blocked;
                }
                self.send_window -= i64::try_from(length).unwrap_or(i64::MAX);
                stream.send_window -= i64::try_from(length).unwrap_or(i64::MAX);
                self.updates.relieve(UPDATES_FOR_DATA);
                let piece = if length == data.len() { std::mem::take(data) } else { data.split_to(length) };
                let last = data.is_empty() && matches!(after, After::End);
                self.out.data(key.id, piece, last);
                if last {
                    self.send_ended(key);
                    return Wrote::Over;
                }
                continue;
            }
            match std::mem::replace(after, After::Unknown) {
                After::Unknown => return Wrote::All,
                After::Data(next) => *data = next,
                After::End => {
                    self.out.data(key.id, Bytes::new(), true);
                    self.send_ended(key);
                    return Wrote::Over;
                }
                After::Trailers(trailers) => {
                    if self.out.length() >= ENOUGH {
                        crowd(&mut self.crowded, stream, key);
                        *after = After::Trailers(trailers);
                        return Wrote::Blocked;
                    }
                    let begin = self.begin_block();
                    self.encoder.trailers(&trailers, self.out.frames());
                    self.out.finish_block(begin, key.id, true, self.peer_payload);
                    self.send_ended(key);
                    return Wrote::Over;
                }
                After::Failure(reason) => {
                    let usual = match self.role {
                        Role::Server => Reason::INTERNAL_ERROR,
                        Role::Client => Reason::CANCEL,
                    };
                    self.reset(key, reason.unwrap_or(usual), Error::GivenUp);
                    return Wrote::Over;
                }
            }
        }
    }

    pub(super) fn begin_block(&mut self) -> usize {
        let frames = self.out.frames();
        let begin = frames.len();
        frames.extend_from_slice(&[0; frame::HEAD]);
        begin
    }

    fn send_ended(&mut self, key: Key) {
        let Some(stream) = self.streams.get(key) else { return };
        stream.sending = false;
        stream.worker = false;
        let unread = stream.receiving != Receiving::Ended && !stream.tunnel;
        if self.role == Role::Server {
            self.resets.relieve(1);
            self.offences.relieve(1);
            self.glitches.relieve(1);
            if unread {
                // RFC 9113 §8.1: the response is whole, the rest of the request is not needed.
                self.reset(key, Reason::NO_ERROR, Error::GivenUp);
                return;
            }
        }
        self.close_if_over(key);
    }

    /// A window of a stream was opened: its worker may go on.
    pub(super) fn unblock(&mut self, key: Key) {
        if let Some(stream) = self.streams.get(key)
            && stream.send_window > 0
            && std::mem::take(&mut stream.blocked)
        {
            self.work.poll.push(key.slot);
        }
    }

    /// While the connection's window is open the workers that wait for it go on by turns: no more at once than it may be enough for, lest a
    /// peer that opens it by an octet makes all of them look. What they leave of it is for the next, with the connection's task's next round.
    pub(super) fn unblock_some(&mut self) {
        if self.send_window <= 0 || self.blocked.is_empty() {
            return;
        }
        let most = usize::try_from(self.send_window).unwrap_or(0) / FOR_EACH + 1;
        for slot in self.blocked.drain(..most.min(self.blocked.len())) {
            if let Some(stream) = self.streams.in_slot(slot) {
                stream.queued = false;
                self.work.poll.push(slot);
            }
        }
    }

    pub(super) fn keep_waker(&mut self, key: Key, waker: &Waker) {
        if let Some(stream) = self.streams.get(key) {
            keep(&mut stream.waker, waker);
        }
    }
}

/// The stream's worker waits until what waits to be written has left.
fn crowd(crowded: &mut Vec<u32>, stream: &mut Stream, key: Key) {
    if !std::mem::replace(&mut stream.crowded, true) {
        crowded.push(key.slot);
    }
}

/// What a request's head counts against SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
fn list_size(parts: &request::Parts) -> usize {
    let field = |name: usize, value: usize| name + value + FIELD_OVERHEAD;
    let uri = &parts.uri;
    let path = uri.path_and_query().map_or(1, |path| path.as_str().len());
    let pseudo = field(":method".len(), parts.method.as_str().len())
        + field(":path".len(), path)
        + uri.scheme_str().map_or(0, |scheme| field(":scheme".len(), scheme.len()))
        + uri.authority().map_or(0, |authority| field(":authority".len(), authority.as_str().len()));
    parts.headers.iter().fold(pseudo, |size, (name, value)| size + field(name.as_str().len(), value.len()))
}

/// What the mesh may have added to a head that this side has accepted.
const ADDED: usize = 16 << 10;
/// When so much waits to be written no more data is added, nor heads: the peer or the transport is slower than the streams.
pub(super) const ENOUGH: usize = 64 << 10;
/// How much of the connection's window a worker is taken to need.
const FOR_EACH: usize = 1024;
/// How many WINDOW_UPDATE frames a frame of DATA excuses: one for its stream, one for the connection, and the same for a peer that counts finely.
const UPDATES_FOR_DATA: u32 = 4;
