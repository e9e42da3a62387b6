//! Frames in (RFC 9113 §4 to §6): parsed where they were read, each in its turn, and all of one read before anybody is woken.

use tokio::time::Instant;

use super::error::{Error, Fatal, Reason};
use super::frame::{self, Head};
use super::state::{Leaving, Role, State};
use super::stream::{Key, Receiving};

/// Where in the input the connection is.
#[derive(Debug)]
pub(super) struct Input {
    /// How much of the client's preface is still to come.
    preface: &'static [u8],
    /// The first frame must be SETTINGS, and it came.
    settled: bool,
    /// A DATA frame of which not all has come.
    data: Option<Partial>,
    /// A header block that goes on in CONTINUATION frames.
    block: Option<Block>,
    /// Since when a message is on its way of which not all has come: the first SETTINGS, a frame that is not DATA, or a header block.
    half_since: Option<Instant>,
    /// How many fields the last head had.
    pub(super) fields: usize,
}

#[derive(Clone, Copy, Debug)]
struct Partial {
    /// Who gets it; nobody if the stream is over.
    key: Option<Key>,
    left: usize,
    end: bool,
}

#[derive(Debug)]
struct Block {
    head: Head,
    self_dependent: bool,
    octets: Vec<u8>,
    frames: usize,
}

impl Input {
    pub(super) fn new(role: Role) -> Self {
        let (preface, half_since) = match role {
            Role::Server => (frame::PREFACE, Some(Instant::now())),
            // A server may be slow to accept: whether it is there is asked once a request waits.
            Role::Client => (&[][..], None),
        };
        Self { preface, settled: false, data: None, block: None, half_since, fields: FIELDS_AT_FIRST }
    }

    /// Since when a message is on its way of which not all has come.
    pub(super) fn half_since(&self) -> Option<Instant> {
        self.half_since
    }

    /// The peer's first SETTINGS came.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// The input was gone through up to something that is not whole, or to its end if `whole`.
    fn pause(&mut self, progress: bool, whole: bool) {
        // A header block's time began with its first frame, the greeting's with the connection.
        if self.block.is_some() || (!self.settled && self.half_since.is_some()) {
            return;
        }
        if whole || progress {
            self.half_since = None;
        }
        if !whole {
            self.half_since.get_or_insert_with(Instant::now);
        }
    }

    pub(super) fn rest(&mut self) {
        self.fields = self.fields.min(FIELDS_AT_MOST);
    }
}

impl State {
    /// Takes the frames that are whole in `input`, and what there is of DATA; says how much it took.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, Fatal> {
        self.heard = true;
        let done = self.frames(input)?;
        self.input.pause(done > 0, done == input.len());
        Ok(done)
    }

    fn frames(&mut self, input: &[u8]) -> Result<usize, Fatal> {
        let mut at = input.len().min(self.input.preface.len());
        if at > 0 {
            let Some(rest) = self.input.preface.strip_prefix(&input[..at]) else {
                return Err(Fatal::protocol("no preface"));
            };
            self.input.preface = rest;
        }
        loop {
            if let Some(partial) = self.input.data.take() {
                at += self.data(partial, &input[at..])?;
                if self.input.data.is_some() {
                    return Ok(at);
                }
            }
            let Some(head) = Head::parse(&input[at..]) else { return Ok(at) };
            if head.length > frame::MAX_PAYLOAD {
                return Err(Fatal::size("frame is too large"));
            }
            if self.input.block.is_some() && head.kind != frame::CONTINUATION {
                return Err(Fatal::protocol("header block is interrupted"));
            }
            if !self.input.settled && (head.kind != frame::SETTINGS || head.has(frame::ACK)) {
                return Err(Fatal::protocol("SETTINGS are not first"));
            }
            if head.kind == frame::DATA && !head.has(frame::PADDED) {
                at += frame::HEAD;
                self.data_head(head, head.length)?;
                continue;
            }
            let begin = at + frame::HEAD;
            let Some(payload) = input.get(begin..begin + head.length) else { return Ok(at) };
            at = begin + head.length;
            self.frame(head, payload)?;
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        match head.kind {
            frame::DATA => self.padded_data(head, payload),
            frame::HEADERS => self.headers(head, payload),
            frame::PRIORITY => self.priority(head, payload),
            frame::RST_STREAM => self.rst_stream(head, payload),
            frame::SETTINGS => self.settings(head, payload),
            frame::PUSH_PROMISE => Err(Fatal::protocol("PUSH_PROMISE is not allowed")),
            frame::PING => self.ping(head, payload),
            frame::GO_AWAY => self.go_away(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::CONTINUATION => self.continuation(head, payload),
            frame::CLIENT_ENDED if self.role == Role::Server => self.client_ended(head),
            // RFC 9113 §5.5: what is not known is passed over.
            _ => self.glitch(),
        }
    }

    /// Counts a frame that brings nothing.
    pub(super) fn glitch(&mut self) -> Result<(), Fatal> {
        if self.glitches.allows() { Ok(()) } else { Err(Fatal::calm("too many frames that bring nothing")) }
    }

    /// The peer did wrong by one stream, which costs it the stream, and in great number the connection.
    pub(super) fn offence(&mut self, key: Key, reason: Reason, what: &'static str) -> Result<(), Fatal> {
        self.reset(key, reason, Error::Protocol { reason, what });
        self.count_offence()
    }

    /// Counts a stream that was ended for the peer's mistake.
    pub(super) fn count_offence(&mut self) -> Result<(), Fatal> {
        if self.role == Role::Client || self.offences.allows() {
            return Ok(());
        }
        Err(Fatal::calm("too many streams were reset"))
    }

    /// Whether `id` is of a stream that was never opened.
    fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Server => id.is_multiple_of(2) || (id > self.last_peer && self.leaving != Leaving::Final),
            Role::Client => id.is_multiple_of(2) || id >= self.next_id,
        }
    }

    /// Settles who gets a DATA frame, of which `length` is data, and what it takes of the windows.
    fn data_head(&mut self, head: Head, length: usize) -> Result<(), Fatal> {
        if head.id == 0 || (self.streams.find(head.id).is_none() && self.is_idle(head.id)) {
            return Err(Fatal::protocol("DATA on no stream"));
        }
        let all = i64::try_from(head.length).unwrap_or(i64::MAX);
        self.receive_window -= all;
        if self.receive_window < 0 {
            return Err(Fatal::flow("DATA beyond the connection's window"));
        }
        let end = head.has(frame::END_STREAM);
        if length == 0 && !end {
            self.glitch()?;
        }
        let key = self.data_reader(head, length)?;
        self.input.data = Some(Partial { key, left: length, end });
        Ok(())
    }

    fn data_reader(&mut self, head: Head, length: usize) -> Result<Option<Key>, Fatal> {
        let Some((key, stream)) = self.streams.find(head.id) else {
            if self.late.holds(head.id) {
                if !self.late.allows(length) {
                    self.glitch()?;
                }
                if head.has(frame::END_STREAM) {
                    self.late.ended(head.id);
                }
            } else if head.id > self.last_peer && self.role == Role::Server {
                // This side goes away, which the peer did not know yet: the connection's window bounds that.
                if length == 0 {
                    self.glitch()?;
                }
            } else if self.was_reset(head.id) || self.role == Role::Client {
                self.glitch()?;
            } else {
                self.reset_id(head.id, Reason::STREAM_CLOSED);
                self.count_offence()?;
            }
            return Ok(None);
        };
        match stream.receiving {
            Receiving::Body => {}
            Receiving::Head => {
                self.offence(key, Reason::PROTOCOL_ERROR, "DATA before the head")?;
                return Ok(None);
            }
            Receiving::Ended => {
                self.offence(key, Reason::STREAM_CLOSED, "DATA after the end")?;
                return Ok(None);
            }
        }
        stream.receive_window -= i64::try_from(head.length).unwrap_or(i64::MAX);
        if stream.receive_window < 0 {
            self.offence(key, Reason::FLOW_CONTROL_ERROR, "DATA beyond the stream's window")?;
            return Ok(None);
        }
        if let Some(left) = &mut stream.length_left {
            match left.checked_sub(length as u64) {
                Some(rest) => *left = rest,
                None => {
                    self.offence(key, Reason::PROTOCOL_ERROR, "more DATA than content-length says")?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(key))
    }

    /// Hands over what `input` holds of a DATA frame; says how much that is.
    fn data(&mut self, partial: Partial, input: &[u8]) -> Result<usize, Fatal> {
        let Partial { key, left, end } = partial;
        let length = left.min(input.len());
        let piece = &input[..length];
        let reader = key.and_then(|key| self.streams.get(key)).filter(|stream| stream.reader && stream.open);
        match reader {
            Some(stream) if length > 0 => {
                stream.data.push(piece);
                self.work.wakes.extend(stream.waker.take());
            }
            Some(_) => {}
            None => self.release(u32::try_from(length).unwrap_or(u32::MAX)),
        }
        if length < left {
            self.input.data = Some(Partial { key, left: left - length, end });
        } else if let Some(key) = key.filter(|_| end) {
            self.received_all(key)?;
        }
        Ok(length)
    }

    fn padded_data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let data = unpad(payload)?;
        self.data_head(head, data.len())?;
        let Some(partial) = self.input.data.take() else { return Ok(()) };
        let padding = u32::try_from(payload.len() - data.len()).unwrap_or(u32::MAX);
        // RFC 9113 §6.1: padding takes of the windows, and nobody reads it.
        self.release(padding);
        if let Some(key) = partial.key.filter(|_| !partial.end) {
            self.release_stream(key, padding);
        }
        self.data(partial, data)?;
        Ok(())
    }

    /// The peer ended its side of the stream.
    pub(super) fn received_all(&mut self, key: Key) -> Result<(), Fatal> {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.open) else { return Ok(()) };
        if stream.length_left.is_some_and(|left| left > 0) {
            return self.offence(key, Reason::PROTOCOL_ERROR, "less DATA than content-length says");
        }
        stream.receiving = Receiving::Ended;
        self.work.wakes.extend(stream.waker.take());
        self.close_if_over(key);
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id == 0 {
            return Err(Fatal::protocol("HEADERS on no stream"));
        }
        let mut fragment = if head.has(frame::PADDED) { unpad(payload)? } else { payload };
        let mut self_dependent = false;
        if head.has(frame::WITH_PRIORITY) {
            let dependency = frame::word(fragment).ok_or_else(|| Fatal::size("HEADERS without their priority"))?;
            self_dependent = dependency & frame::MAX_ID == head.id;
            fragment = fragment.get(5..).ok_or_else(|| Fatal::size("HEADERS without their priority"))?;
        }
        if head.has(frame::END_HEADERS) {
            return self.header_block(head, fragment, self_dependent);
        }
        self.input.block = Some(Block { head, self_dependent, octets: fragment.to_vec(), frames: 1 });
        self.input.half_since = Some(Instant::now());
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let Some(mut block) = self.input.block.take().filter(|block| block.head.id == head.id) else {
            return Err(Fatal::protocol("CONTINUATION of nothing"));
        };
        block.octets.extend_from_slice(payload);
        block.frames += 1;
        // CVE-2024-27316 and its kin: a block must be whole in as many frames as a head of full size takes, and some more.
        let most = self.max_head / frame::MAX_PAYLOAD + MORE_FRAMES;
        if block.frames > most || block.octets.len() > self.max_head + frame::MAX_PAYLOAD {
            return Err(Fatal::calm("header block does not end"));
        }
        if head.has(frame::END_HEADERS) {
            return self.header_block(block.head, &block.octets, block.self_dependent);
        }
        self.input.block = Some(block);
        Ok(())
    }

    fn priority(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id == 0 {
            return Err(Fatal::protocol("PRIORITY on no stream"));
        }
        let found = self.streams.find(head.id).map(|(key, _)| key);
        if payload.len() != 5 {
            return match found {
                Some(key) => self.offence(key, Reason::FRAME_SIZE_ERROR, "PRIORITY of a wrong size"),
                None => Err(Fatal::size("PRIORITY of a wrong size")),
            };
        }
        if frame::word(payload).is_some_and(|dependency| dependency & frame::MAX_ID == head.id) {
            return match found {
                Some(key) => self.offence(key, Reason::PROTOCOL_ERROR, "stream depends on itself"),
                None => Err(Fatal::protocol("stream depends on itself")),
            };
        }
        self.glitch()
    }

    fn rst_stream(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let Some(code) = frame::word(payload).filter(|_| payload.len() == 4) else {
            return Err(Fatal::size("RST_STREAM of a wrong size"));
        };
        let found = self.streams.find(head.id).map(|(key, _)| key);
        match found {
            Some(key) => {
                // Each costs a request (CVE-2023-44487). One that is being answered costs no more than one that is read to its end.
                let for_nothing = self.streams.get(key).is_some_and(|stream| stream.unanswered);
                self.abandon(key, Error::Reset { reason: Reason(code) });
                if !for_nothing || self.resets.allows() {
                    return Ok(());
                }
                Err(Fatal::calm("too many streams were reset"))
            }
            None if head.id == 0 || self.is_idle(head.id) => Err(Fatal::protocol("RST_STREAM on no stream")),
            None if self.late.ended(head.id) => Ok(()),
            None => self.glitch(),
        }
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(Fatal::protocol("SETTINGS on a stream"));
        }
        if head.has(frame::ACK) {
            return self.settings_acknowledged(payload);
        }
        let (settings, rest) = payload.as_chunks::<{ frame::SETTING }>();
        if !rest.is_empty() {
            return Err(Fatal::size("SETTINGS of a wrong size"));
        }
        let mut window = None;
        for [a, b, c, d, e, f] in settings {
            let value = u32::from_be_bytes([*c, *d, *e, *f]);
            match u16::from_be_bytes([*a, *b]) {
                frame::HEADER_TABLE_SIZE => self.encoder.resize(value as usize),
                frame::ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Client) => {
                    return Err(Fatal::protocol("SETTINGS_ENABLE_PUSH is wrong"));
                }
                frame::MAX_CONCURRENT_STREAMS => self.peer_streams = value as usize,
                frame::INITIAL_WINDOW_SIZE if i64::from(value) > frame::MAX_WINDOW => {
                    return Err(Fatal::flow("SETTINGS_INITIAL_WINDOW_SIZE is too large"));
                }
                // All streams' windows move with it: once for a frame, whatever is in it.
                frame::INITIAL_WINDOW_SIZE => window = Some(i64::from(value)),
                frame::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(Fatal::protocol("SETTINGS_MAX_FRAME_SIZE is wrong"));
                }
                frame::MAX_HEADER_LIST_SIZE => self.peer_max_head = value as usize,
                frame::MAX_FRAME_SIZE => self.peer_payload = (value as usize).min(LARGEST_PAYLOAD),
                _ => {}
            }
        }
        if let Some(window) = window {
            self.stream_windows(window)?;
        }
        if !std::mem::replace(&mut self.input.settled, true) {
            // Until the peer says otherwise it allows as many as it likes (RFC 9113 §6.5.2).
            let silent =
                !settings.iter().any(|[a, b, ..]| u16::from_be_bytes([*a, *b]) == frame::MAX_CONCURRENT_STREAMS);
            if silent {
                self.peer_streams = usize::MAX;
            }
        } else {
            self.glitch()?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.work.wakes.extend(waiting.into_iter().map(|(_, waker)| waker));
        frame::settings_ack(self.out.frames());
        self.acknowledged()
    }

    fn settings_acknowledged(&mut self, payload: &[u8]) -> Result<(), Fatal> {
        if !payload.is_empty() {
            return Err(Fatal::size("acknowledgement of SETTINGS is not empty"));
        }
        self.raising = false;
        // From here on the peer holds to our window; before, to the protocol's.
        let change = i64::from(self.stream_window) - self.first_window;
        self.first_window = i64::from(self.stream_window);
        for (_, stream) in self.streams.iter_mut() {
            stream.receive_window += change;
        }
        self.glitch()
    }

    fn stream_windows(&mut self, window: i64) -> Result<(), Fatal> {
        let change = window - self.peer_stream_window;
        self.peer_stream_window = window;
        let mut unblocked = Vec::new();
        for (key, stream) in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > frame::MAX_WINDOW {
                return Err(Fatal::flow("SETTINGS make a window too large"));
            }
            unblocked.push(key);
        }
        unblocked.into_iter().for_each(|key| self.unblock(key));
        Ok(())
    }

    /// Counts an answer that waits to be written: a peer that does not read them shall not make more.
    fn acknowledged(&mut self) -> Result<(), Fatal> {
        self.unsent_acks += 1;
        if self.unsent_acks > MAX_UNSENT_ACKS { Err(Fatal::calm("answers are not read")) } else { Ok(()) }
    }

    fn ping(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(Fatal::protocol("PING on a stream"));
        }
        let Some(payload) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
            return Err(Fatal::size("PING of a wrong size"));
        };
        if head.has(frame::ACK) {
            if *payload == super::state::DRAIN_PING {
                self.leave_for_good();
            }
            return self.glitch();
        }
        frame::ping(self.out.frames(), frame::ACK, *payload);
        self.acknowledged()?;
        self.glitch()
    }

    fn go_away(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        if head.id != 0 {
            return Err(Fatal::protocol("GOAWAY on a stream"));
        }
        let (Some(last), Some(code)) = (frame::word(payload), payload.get(4..).and_then(frame::word)) else {
            return Err(Fatal::size("GOAWAY of a wrong size"));
        };
        let reason = Reason(code);
        if self.peer_leaving.replace(reason).is_none() && self.role == Role::Client {
            self.work.told = payload.get(8..8 + MOST_DEBUG.min(payload.len() - 8)).map(Box::from);
        }
        if self.role == Role::Client {
            let mut left = Vec::new();
            left.extend(self.streams.iter_mut().map(|(key, _)| key).filter(|key| key.id > last & frame::MAX_ID));
            left.into_iter().for_each(|key| self.abandon(key, Error::GoAway { reason }));
            self.work.wakes.extend(self.waiting.drain(..).map(|(_, waker)| waker));
        }
        self.glitch()
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), Fatal> {
        let Some(more) = frame::word(payload).filter(|_| payload.len() == 4) else {
            return Err(Fatal::size("WINDOW_UPDATE of a wrong size"));
        };
        let more = i64::from(more & frame::MAX_ID);
        if head.id == 0 {
            if more == 0 {
                return Err(Fatal::protocol("WINDOW_UPDATE by nothing"));
            }
            self.send_window += more;
            if self.send_window > frame::MAX_WINDOW {
                return Err(Fatal::flow("WINDOW_UPDATE makes the connection's window too large"));
            }
            return self.updated();
        }
        let Some((key, stream)) = self.streams.find(head.id) else {
            return if self.is_idle(head.id) {
                Err(Fatal::protocol("WINDOW_UPDATE on no stream"))
            } else {
                self.updated()
            };
        };
        if more == 0 {
            return self.offence(key, Reason::PROTOCOL_ERROR, "WINDOW_UPDATE by nothing");
        }
        stream.send_window += more;
        if stream.send_window > frame::MAX_WINDOW {
            return self.offence(key, Reason::FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes a window too large");
        }
        self.unblock(key);
        self.updated()
    }

    /// Counts a frame that opens a window: of those that no DATA asked for a peer has few to send.
    fn updated(&mut self) -> Result<(), Fatal> {
        if self.updates.allows() { Ok(()) } else { Err(Fatal::calm("too many WINDOW_UPDATE frames")) }
    }
}

/// The payload without its padding (RFC 9113 §6.1).
fn unpad(payload: &[u8]) -> Result<&[u8], Fatal> {
    let (length, rest) = payload.split_first().ok_or_else(|| Fatal::size("padded frame is empty"))?;
    let end = rest
        .len()
        .checked_sub(usize::from(*length))
        .ok_or_else(|| Fatal::protocol("padding is longer than its frame"))?;
    Ok(&rest[..end])
}

/// So much of GOAWAY's debug data is of use.
const MOST_DEBUG: usize = 32;
/// Larger frames gain nothing, and keep other streams waiting.
const LARGEST_PAYLOAD: usize = 65_536;
const MAX_UNSENT_ACKS: u32 = 1_000;
/// CONTINUATION frames beyond those that a head of full size needs.
const MORE_FRAMES: usize = 8;
/// How many fields a head is taken to have before one came, and the most that are taken for granted.
const FIELDS_AT_FIRST: usize = 8;
pub(super) const FIELDS_AT_MOST: usize = 48;
