//! Stands between two ends of a connection, passes on what they send, and keeps account of the windows by the letter of RFC 9113
//! section 6.9: nobody sends more than was granted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::frame::{self, Frame};

/// What one end may still send.
#[derive(Debug)]
pub struct Account {
    pub connection: i64,
    streams: HashMap<u32, i64>,
    /// What a stream begins with, and what the other end has asked for in SETTINGS that are not acknowledged.
    initial: i64,
    asked: Vec<Option<i64>>,
}

impl Account {
    fn new() -> Self {
        Self { connection: FIRST, streams: HashMap::new(), initial: FIRST, asked: Vec::new() }
    }

    fn stream(&mut self, id: u32) -> &mut i64 {
        self.streams.entry(id).or_insert(self.initial)
    }

    fn sends(&mut self, length: usize, id: u32) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.connection -= length;
        assert!(self.connection >= 0, "DATA beyond the connection's window");
        let stream = self.stream(id);
        *stream -= length;
        assert!(*stream >= 0, "DATA beyond the window of stream {id}");
    }

    fn granted(&mut self, more: u32, id: u32) {
        assert!(more > 0, "a window grows by nothing");
        let window = if id == 0 { &mut self.connection } else { self.stream(id) };
        *window += i64::from(more);
        assert!(*window <= i64::from(i32::MAX), "a window beyond 2^31 - 1");
    }

    /// The other end asks for another size of all windows; it counts from the acknowledgement on.
    fn asked(&mut self, settings: &[u8]) {
        let sizes = settings.chunks_exact(6).filter(|setting| setting[..2] == [0, 4]);
        let size =
            sizes.last().map(|setting| i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]])));
        self.asked.push(size);
    }

    fn acknowledges(&mut self) {
        assert!(!self.asked.is_empty(), "an acknowledgement of nothing");
        if let Some(size) = self.asked.remove(0) {
            self.streams.values_mut().for_each(|window| *window += size - self.initial);
            self.initial = size;
        }
    }
}

/// The accounts of both directions.
pub type Accounts = Rc<RefCell<[Account; 2]>>;

/// New accounts.
#[must_use]
pub fn accounts() -> Accounts {
    Rc::new(RefCell::new([Account::new(), Account::new()]))
}

/// Passes on what comes, in pieces of at most `piece` bytes; `direction` is 0 for what the client sends.
pub async fn pass(
    mut from: tokio::io::ReadHalf<DuplexStream>,
    mut to: tokio::io::WriteHalf<DuplexStream>,
    direction: usize,
    piece: usize,
    accounts: Accounts,
) {
    let mut seen = Vec::new();
    let mut preface = if direction == 0 { frame::PREFACE.len() } else { 0 };
    let mut buffer = vec![0; piece.clamp(1, 64 << 10)];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..read]);
        if preface > 0 && seen.len() >= preface {
            assert_eq!(seen[..preface], *frame::PREFACE, "the preface");
            seen.drain(..preface);
            preface = 0;
        }
        while let Some((frame, length)) = Frame::parse(&seen).filter(|_| preface == 0) {
            seen.drain(..length);
            note(&frame, direction, &mut accounts.borrow_mut());
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // The other end may be gone already.
    let _ = to.shutdown().await;
}

fn note(frame: &Frame, direction: usize, accounts: &mut [Account; 2]) {
    assert!(frame.payload.len() <= LARGEST, "a frame larger than was allowed");
    assert!(!frame.ends_connection(), "one end of the connection is not content with the other: {frame:?}");
    match frame.kind {
        frame::DATA => accounts[direction].sends(frame.payload.len(), frame.id),
        frame::WINDOW_UPDATE => accounts[1 - direction].granted(frame.word(), frame.id),
        frame::SETTINGS if frame.flags & frame::ACK == 0 => accounts[1 - direction].asked(&frame.payload),
        frame::SETTINGS => accounts[direction].acknowledges(),
        _ => {}
    }
}

const FIRST: i64 = 65_535;
/// What a frame may carry until SETTINGS say otherwise, which neither end does.
const LARGEST: usize = 16_384;
