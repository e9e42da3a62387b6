//! A peer that speaks in frames: it writes one, lets the other side do all it will, and looks at what that wrote.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::frame::{self, Frame};
use crate::runtime;

/// The peer's end of a connection.
#[derive(Debug)]
pub struct Peer {
    io: DuplexStream,
    read: Vec<u8>,
    /// The other side has ended the connection, or said why it will.
    over: bool,
}

impl Peer {
    /// A peer, and the other end for who is tested.
    #[must_use]
    pub fn new() -> (Self, DuplexStream) {
        let (near, far) = tokio::io::duplex(8 << 20);
        (Self { io: near, read: Vec::new(), over: false }, far)
    }

    /// Whether the other side has ended the connection, or said why it will.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Sends bytes and returns the frames that came meanwhile.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Vec<Frame> {
        // Who has closed has said why, or says it now.
        let _ = self.io.write_all(bytes).await;
        runtime::settle().await;
        self.received().await
    }

    /// The same with a client, which sends its preface before anything else.
    pub async fn greeted(&mut self, bytes: &[u8]) {
        self.exchange(bytes).await;
        if self.read.starts_with(frame::PREFACE) {
            self.read.drain(..frame::PREFACE.len());
        }
        self.exchange(&[]).await;
    }

    /// The frames that came.
    async fn received(&mut self) -> Vec<Frame> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = tokio::select! {
                biased;
                read = self.io.read(&mut buffer) => read.unwrap_or(0),
                () = std::future::ready(()) => break,
            };
            if read == 0 {
                self.over = true;
                break;
            }
            self.read.extend_from_slice(&buffer[..read]);
        }
        let frames = frame::parse_all(&self.read);
        let taken: usize = frames.iter().map(|frame| 9 + frame.payload.len()).sum();
        self.read.drain(..taken);
        self.over |= frames.iter().any(Frame::ends_connection);
        frames
    }
}
