//! One end of a connection that writes down what it hears: bytes, and how and when they end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::message;

/// How long a read waits. What never comes is an event like any other.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a row is quiet that is about silence: longer than any time limit that a proxy is known for, where the long form is asked for.
fn quiet() -> Duration {
    let long = std::env::var_os("OUTRIGGER_LONG").is_some();
    if long { Duration::from_secs(200) } else { Duration::from_secs(1) }
}

/// What takes longer than this was held up by somebody: no row lasts half as long on an idle machine.
const LATE: Duration = Duration::from_millis(2500);

/// A socket and what it heard.
pub(crate) struct Peer {
    stream: TcpStream,
    /// Came with what was asked for, and belongs to the next read.
    ahead: Vec<u8>,
    /// A write was told of a reset; no read is told again.
    is_reset: bool,
    record: Arc<Record>,
}

/// What one end of a connection heard, for whoever waits until it has heard all.
#[derive(Default)]
pub(crate) struct Record {
    heard: Mutex<Vec<String>>,
    settled: AtomicBool,
}

impl Record {
    /// Whether its script has ended, or waits for a request that need not come.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst)
    }

    /// Says that the script has ended.
    pub(crate) fn end(&self) {
        self.settled.store(true, Ordering::SeqCst);
    }

    /// The lines so far, which are forgotten.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn tell(&self, line: String) {
        self.heard.lock().unwrap().push(line);
    }
}

impl Peer {
    pub(crate) fn new(stream: TcpStream, record: Arc<Record>) -> Self {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_write_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, ahead: Vec::new(), is_reset: false, record }
    }

    /// Writes. Whether a peer that has left is noticed at this write or the next is the kernel's affair, and not told.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let sent = self.stream.write_all(bytes.as_ref());
        self.is_reset |= sent.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        self
    }

    /// Writes byte by byte, as if each were a packet.
    pub(crate) fn trickle(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        for byte in bytes.as_ref() {
            self.send([*byte]).wait(3);
        }
        self
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, millis: u64) -> &mut Self {
        std::thread::sleep(Duration::from_millis(millis));
        self
    }

    /// Says nothing for long.
    pub(crate) fn quiet(&mut self) -> &mut Self {
        std::thread::sleep(quiet());
        self
    }

    /// Waits longer than the other side is quiet.
    pub(crate) fn patient(&mut self) -> &mut Self {
        self.stream.set_read_timeout(Some(quiet() + SILENCE)).unwrap();
        self
    }

    /// Hears exactly as many bytes as `bytes` has.
    pub(crate) fn hear(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let wanted = bytes.as_ref().len();
        self.read("", |heard| (heard.len() >= wanted).then_some(wanted));
        self
    }

    /// Hears up to and with `mark`.
    pub(crate) fn hear_until(&mut self, mark: &str) -> &mut Self {
        self.read("", |heard| {
            heard.windows(mark.len()).position(|part| part == mark.as_bytes()).map(|at| at + mark.len())
        });
        self
    }

    /// Hears one message of HTTP/1.
    pub(crate) fn hear_message(&mut self) -> &mut Self {
        self.read("", message::whole);
        self
    }

    /// Hears all that comes, and how it ends.
    pub(crate) fn hear_end(&mut self) -> &mut Self {
        self.read("", |_| None);
        self
    }

    /// Hears whether the connection is open and quiet for so long.
    pub(crate) fn hear_nothing(&mut self, millis: u64) -> &mut Self {
        self.stream.set_read_timeout(Some(Duration::from_millis(millis))).unwrap();
        self.read("for a while ", |_| None);
        self.stream.set_read_timeout(Some(SILENCE)).unwrap();
        self
    }

    /// Says that no more is coming.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Breaks the connection off when the script ends.
    pub(crate) fn reset(&mut self) -> &mut Self {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
        self
    }

    /// Hears a request on a connection that may be kept for long; false when it ended instead.
    pub(crate) fn hear_request(&mut self) -> bool {
        if self.ahead.is_empty() {
            self.record.settled.store(true, Ordering::SeqCst);
            let first = loop {
                match self.stream.peek(&mut [0]) {
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    other => break other,
                }
            };
            if !matches!(first, Ok(1)) {
                return false;
            }
            self.record.settled.store(false, Ordering::SeqCst);
        }
        self.hear_message();
        true
    }

    /// Notes the addresses of both ends.
    pub(crate) fn note_addresses(&mut self) -> &mut Self {
        let (own, other) = (self.stream.local_addr().unwrap(), self.stream.peer_addr().unwrap());
        self.note(format!("from {} to {}", other.ip(), own.ip()))
    }

    /// Adds a line of the row's own.
    pub(crate) fn note(&mut self, line: impl Into<String>) -> &mut Self {
        self.record.tell(line.into());
        self
    }

    /// Reads until `done` says how many bytes belong to this read, or the end.
    fn read(&mut self, how: &str, done: impl Fn(&[u8]) -> Option<usize>) {
        let start = Instant::now();
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut buffer = vec![0; 64 * 1024];
        let end = loop {
            if let Some(used) = done(&bytes) {
                self.ahead = bytes.split_off(used);
                break None;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) if self.is_reset => break Some("a reset"),
                Ok(0) => break Some("the end"),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    break Some("silence");
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Some("a reset"),
            }
        };
        let late = if end != Some("silence") && start.elapsed() > LATE { ", late" } else { "" };
        if !bytes.is_empty() {
            self.record.tell(format!("{}{late}", message::tidy(&bytes)));
        }
        if let Some(end) = end {
            self.record.tell(format!("{how}{end}{}", if bytes.is_empty() { late } else { "" }));
        }
    }
}
