//! The streams of a connection: what is known of each, and how they are found.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, response};

use super::error::Error;

/// Which stream a handle means: its slot, and the id to know it from the next one there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) slot: u32,
    pub(super) id: u32,
}

impl Key {
    pub(super) fn index(self) -> usize {
        self.slot as usize
    }
}

/// One stream, from its head until nobody asks for it any more.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// 0 if the slot is free.
    pub(super) id: u32,
    /// The protocol still knows it: it is neither reset nor ended on both sides.
    pub(super) open: bool,
    /// Somebody reads what comes.
    pub(super) reader: bool,
    /// The connection's task works for it: on its response, or sends its body.
    pub(super) worker: bool,
    pub(super) receiving: Receiving,
    /// This side has not ended it.
    pub(super) sending: bool,
    /// Its response has not begun (server).
    pub(super) unanswered: bool,
    /// CONNECT: both directions live on their own.
    pub(super) tunnel: bool,
    /// HEAD: what `content-length` says does not come.
    pub(super) head_only: bool,
    /// Why no more comes, if that is not the end.
    pub(super) fault: Option<Error>,
    pub(super) head: Option<Response<()>>,
    /// Responses that came before it.
    pub(super) interim: Vec<response::Parts>,
    /// The client of the request has ended its side, as the peer was told or has said.
    pub(super) client_ended: bool,
    /// What the head takes of memory while it waits to be answered or read, and the trailers while they wait to be read.
    pub(super) head_memory: usize,
    pub(super) trailers_memory: usize,
    pub(super) data: Queue,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) waker: Option<Waker>,
    /// How much the peer may send, how much was taken since it was told, and how much is to come by `content-length`.
    pub(super) receive_window: i64,
    pub(super) taken: u32,
    /// By how much its window is larger than at first.
    pub(super) grown: u32,
    pub(super) length_left: Option<u64>,
    pub(super) send_window: i64,
    /// Its worker waits for the window of the stream; is in the row for that of the connection; is in the row for room in the output.
    pub(super) blocked: bool,
    pub(super) queued: bool,
    pub(super) crowded: bool,
}

/// What is to come from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Receiving {
    Head,
    Body,
    #[default]
    Ended,
}

/// The open streams by their id, and all of them by their slot.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// The open ones, in the order of their ids, which only grow.
    ids: Vec<(u32, u32)>,
}

impl Streams {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.ids.len()
    }

    /// How many slots are taken.
    pub(super) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Opens stream `id`, which is larger than all before.
    pub(super) fn insert(&mut self, id: u32) -> (Key, &mut Stream) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Stream::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.ids.push((id, slot));
        let stream = &mut self.slots[slot as usize];
        stream.id = id;
        stream.open = true;
        (Key { slot, id }, stream)
    }

    /// The open stream with this id.
    pub(super) fn find(&mut self, id: u32) -> Option<(Key, &mut Stream)> {
        // Mostly the youngest is meant.
        let place = match self.ids.last() {
            Some((last, _)) if *last == id => self.ids.len() - 1,
            _ => self.ids.binary_search_by_key(&id, |(id, _)| *id).ok()?,
        };
        let (_, slot) = self.ids[place];
        Some((Key { slot, id }, &mut self.slots[slot as usize]))
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.slots.get_mut(key.index()).filter(|stream| stream.id == key.id)
    }

    /// The stream in a slot, if it is taken.
    pub(super) fn in_slot(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize).filter(|stream| stream.id != 0)
    }

    /// The protocol is done with it; returns by how much its window had grown.
    pub(super) fn close(&mut self, key: Key) -> u32 {
        let grown = self.get(key).map_or(0, |stream| {
            stream.open = false;
            std::mem::take(&mut stream.grown)
        });
        if let Ok(place) = self.ids.binary_search_by_key(&key.id, |(id, _)| *id) {
            self.ids.remove(place);
        }
        grown
    }

    /// Frees the slot if nobody asks for it any more.
    pub(super) fn free_if_unused(&mut self, key: Key) -> bool {
        let Some(stream) = self.get(key) else { return false };
        if stream.open || stream.reader || stream.worker {
            return false;
        }
        // The queue's memory stays for the next stream.
        let data = std::mem::take(&mut stream.data);
        *stream = Stream { data: data.emptied(), ..Stream::default() };
        self.free.push(key.slot);
        true
    }

    /// The open ones.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Stream)> {
        self.slots.iter_mut().zip(0..).filter(|(stream, _)| stream.open).map(|(stream, slot)| {
            let key = Key { slot, id: stream.id };
            (key, stream)
        })
    }

    /// Gives back what a quiet connection needs not.
    pub(super) fn rest(&mut self) {
        if self.used() == 0 {
            *self = Self::default();
            return;
        }
        self.slots.iter_mut().for_each(|stream| stream.data.rest());
        self.slots.shrink_to_fit();
        self.free.shrink_to_fit();
        self.ids.shrink_to_fit();
    }
}

/// What came of a body and was not read yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Bytes>,
    /// Small pieces that came while many were unread: each on its own would take far more memory than the window says.
    tail: BytesMut,
    length: usize,
}

impl Queue {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.length += piece.len();
        if self.tail.is_empty() && (self.pieces.len() < MANY || piece.len() >= SMALL) {
            self.pieces.push_back(Bytes::copy_from_slice(piece));
            return;
        }
        self.tail.extend_from_slice(piece);
        if self.tail.len() >= SMALL {
            self.pieces.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.length -= piece.len();
        Some(piece)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    fn rest(&mut self) {
        self.pieces.shrink_to_fit();
    }

    fn emptied(mut self) -> Self {
        self.pieces.clear();
        Self { pieces: self.pieces, ..Self::default() }
    }
}

/// So many pieces unread are many.
const MANY: usize = 8;
/// A piece smaller than this is joined with others once there are many.
const SMALL: usize = 4096;
