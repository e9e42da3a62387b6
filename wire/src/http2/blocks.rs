//! Header blocks in: what a whole one means to the stream it came for.

use bytes::Bytes;
use http::{Method, Response};

use super::error::{Error, Fatal, Reason};
use super::frame::{self, Head};
use super::head::{Fields, Parsed};
use super::receive::FIELDS_AT_MOST;
use super::send::{After, ENOUGH};
use super::state::{Arrived, Leaving, Role, State};
use super::stream::{Key, Receiving};

impl State {
    pub(super) fn header_block(&mut self, head: Head, block: &[u8], self_dependent: bool) -> Result<(), Fatal> {
        let found = self.streams.find(head.id).map(|(key, stream)| (key, stream.receiving));
        let is_trailers = matches!(found, Some((_, Receiving::Body)));
        // A field takes an octet at least: after a large head a small one shall not take as much.
        let expected = if is_trailers { 3 } else { self.input.fields.min(block.len()) };
        let mut fields = Fields::new(self.max_head, expected);
        // Whatever becomes of the stream, the table must stay in step.
        let broken = Fatal { reason: Reason::COMPRESSION_ERROR, what: "header block cannot be decoded" };
        self.decoder.decode(block, &mut fields).ok_or(broken)?;
        // To decode them is work, and the block that brings them may be short: a bomb (CVE-2026-49975) ends the connection, not its stream.
        if !self.glitches.allows_all(fields.beyond()) {
            return Err(Fatal::calm("too many fields"));
        }
        if !is_trailers {
            self.input.fields = fields.count().min(FIELDS_AT_MOST);
        }
        let end = head.has(frame::END_STREAM);
        match (found, self.role) {
            (Some((key, _)), _) if self_dependent => {
                self.offence(key, Reason::PROTOCOL_ERROR, "stream depends on itself")
            }
            (Some((key, Receiving::Ended)), _) => self.offence(key, Reason::STREAM_CLOSED, "HEADERS after the end"),
            (Some((key, Receiving::Body)), _) => self.trailers(key, fields, end),
            (Some((key, Receiving::Head)), _) => self.response(key, fields, end),
            (None, Role::Server) => self.request(head.id, fields, end, self_dependent),
            (None, Role::Client) if head.id.is_multiple_of(2) || head.id >= self.next_id => {
                Err(Fatal::protocol("HEADERS on no stream"))
            }
            (None, Role::Client) => self.late_block(head.id, end),
        }
    }

    fn request(&mut self, id: u32, fields: Fields, end: bool, self_dependent: bool) -> Result<(), Fatal> {
        if id.is_multiple_of(2) {
            return Err(Fatal::protocol("stream of a client is even"));
        }
        if id <= self.last_peer {
            if self.late.holds(id) || self.was_reset(id) {
                return self.late_block(id, end);
            }
            return Err(Fatal { reason: Reason::STREAM_CLOSED, what: "HEADERS on a closed stream" });
        }
        if self.leaving == Leaving::Final {
            return self.glitch();
        }
        self.last_peer = id;
        self.late.opened(id);
        if self.streams.open() >= self.max_streams || self.streams.used() >= self.max_slots() {
            return self.refuse(id, end, Reason::REFUSED_STREAM);
        }
        let length = fields.content_length();
        let memory = fields.memory();
        let (bomb, is_head) = (fields.is_bomb(), fields.is_head());
        let request = match fields.request() {
            Parsed::Head(_) if self_dependent || (end && length.is_some_and(|length| length > 0)) => {
                return self.refuse(id, end, Reason::PROTOCOL_ERROR);
            }
            // The peer may send it again: nothing was done for it (RFC 9113 §8.7).
            Parsed::Head(_) if !self.has_room_for_head(memory) => {
                return self.refuse(id, end, Reason::REFUSED_STREAM);
            }
            Parsed::Head(request) => request,
            Parsed::Malformed => return self.refuse(id, end, Reason::PROTOCOL_ERROR),
            Parsed::TooLarge(came) => {
                let refusal = (self.refusal)(&came);
                let refusal = if is_head { refusal.map(|_| Bytes::new()) } else { refusal };
                return self.too_large(id, end, refusal, bomb);
            }
        };
        self.used = true;
        let memory = self.hold_head(memory);
        let (key, stream) = self.streams_for(id, end);
        stream.head_memory = memory;
        stream.worker = true;
        stream.unanswered = true;
        stream.reader = !end;
        stream.tunnel = *request.method() == Method::CONNECT;
        stream.head_only = *request.method() == Method::HEAD;
        stream.length_left = length;
        self.unanswered += 1;
        self.work.arrived.push(Arrived { key, request, has_body: !end, length });
        self.give_streams();
        Ok(())
    }

    fn streams_for(&mut self, id: u32, end: bool) -> (Key, &mut super::stream::Stream) {
        let (send_window, receive_window) = (self.peer_stream_window, self.first_window);
        let (key, stream) = self.streams.insert(id);
        stream.receiving = if end { Receiving::Ended } else { Receiving::Body };
        stream.sending = true;
        stream.send_window = send_window;
        stream.receive_window = receive_window;
        (key, stream)
    }

    /// Turns a request away that never becomes a stream: one too many, or malformed (RFC 9113 §8.1.1).
    fn refuse(&mut self, id: u32, end: bool, reason: Reason) -> Result<(), Fatal> {
        if !end {
            self.late.cut(id, i64::from(self.stream_window).max(self.first_window));
        }
        self.reset_id(id, reason);
        self.count_offence()
    }

    /// 431 Request Header Fields Too Large (RFC 6585 §5). Who sends little that becomes much means it, and has few tries.
    fn too_large(&mut self, id: u32, end: bool, refusal: Response<Bytes>, bomb: bool) -> Result<(), Fatal> {
        let (parts, mut body) = refusal.into_parts();
        let window = self.send_window.min(self.peer_stream_window);
        if self.out.length() >= ENOUGH || usize::try_from(window).unwrap_or(0) < body.len() {
            // Nobody waits until there is room for it.
            body = Bytes::new();
        }
        let (key, _) = self.streams_for(id, end);
        self.write_head(key, (parts.status, &parts.headers), &mut body, &mut After::End);
        if bomb && !self.offences.allows_all(BOMB) {
            return Err(Fatal::calm("header blocks refer to the same fields again and again"));
        }
        self.count_offence()
    }

    /// HEADERS of a stream that this side has ended.
    fn late_block(&mut self, id: u32, end: bool) -> Result<(), Fatal> {
        if end && self.late.ended(id) { Ok(()) } else { self.glitch() }
    }

    fn response(&mut self, key: Key, fields: Fields, end: bool) -> Result<(), Fatal> {
        let length = fields.content_length();
        let memory = fields.memory();
        let response = match fields.response() {
            Parsed::Head(response) => response,
            Parsed::Malformed => return self.offence(key, Reason::PROTOCOL_ERROR, "response is malformed"),
            Parsed::TooLarge(_) => return self.offence(key, Reason::CANCEL, "response's head is too large"),
        };
        let status = response.status();
        if status.is_informational() {
            // RFC 9113 §8.1: the final head is still to come.
            if end {
                return self.offence(key, Reason::PROTOCOL_ERROR, "informational response ends the stream");
            }
            self.informed(key, response);
            return self.glitch();
        }
        if !self.has_room_for_head(memory) {
            return self.offence(key, Reason::CANCEL, "responses' heads take too much together");
        }
        let memory = self.hold_head(memory);
        let Some(stream) = self.streams.get(key) else { return Ok(()) };
        stream.head_memory = memory;
        // RFC 9110 §8.6: what the length of another response would be says nothing about this one, which has none.
        stream.length_left = if has_no_content(stream.head_only, status) { Some(0) } else { length };
        stream.receiving = Receiving::Body;
        stream.head = Some(response);
        self.work.wakes.extend(stream.waker.take());
        if end { self.received_all(key) } else { Ok(()) }
    }

    fn trailers(&mut self, key: Key, fields: Fields, end: bool) -> Result<(), Fatal> {
        let memory = fields.memory();
        let trailers = match fields.trailers() {
            Parsed::Head(trailers) if end => trailers,
            Parsed::Head(_) | Parsed::Malformed => {
                return self.offence(key, Reason::PROTOCOL_ERROR, "trailers are malformed");
            }
            Parsed::TooLarge(_) => return self.offence(key, Reason::CANCEL, "trailers are too large"),
        };
        if !self.has_room_for_head(memory) {
            return self.offence(key, Reason::CANCEL, "trailers and heads take too much together");
        }
        if let Some(stream) = self.streams.get(key).filter(|stream| stream.reader) {
            stream.trailers = Some(trailers);
            stream.trailers_memory = memory;
            self.hold_head(memory);
        }
        self.received_all(key)
    }

    /// The head of the response, once it came.
    pub(super) fn take_head(&mut self, key: Key, waker: &std::task::Waker) -> Option<Result<Answer, Error>> {
        self.take_interim(key);
        let Some(stream) = self.streams.get(key) else { return Some(Err(Error::Ended)) };
        if let Some(response) = stream.head.take() {
            let over = stream.receiving == Receiving::Ended && stream.fault.is_none();
            let has_body = !(over && stream.data.is_empty() && stream.trailers.is_none());
            // Nor is it known what length is to be passed on.
            let left = stream.length_left.filter(|_| !has_no_content(stream.head_only, response.status()));
            let length = left.map(|left| left + stream.data.length() as u64);
            let memory = std::mem::take(&mut stream.head_memory);
            self.let_head_go(memory);
            if !has_body {
                self.reader_done(key);
            }
            return Some(Ok(Answer { response, has_body, length }));
        }
        if let Some(fault) = &stream.fault {
            return Some(Err(fault.clone()));
        }
        self.keep_waker(key, waker);
        None
    }
}

/// The head of a response, and what is known of its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) has_body: bool,
    pub(super) length: Option<u64>,
}

/// Says whether a response is defined to have no content (RFC 9110 section 6.4.1): to HEAD, or with these statuses.
fn has_no_content(head_only: bool, status: http::StatusCode) -> bool {
    head_only || status == http::StatusCode::NOT_MODIFIED || status == http::StatusCode::NO_CONTENT
}

/// What a bomb counts beyond a reset: ten in a second are too many.
const BOMB: usize = 49;
