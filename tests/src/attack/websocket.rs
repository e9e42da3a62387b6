//! WebSocket connections, frame by frame (RFC 6455, RFC 7692): what a client writes, and what it hears. A case is right when a client behind a
//! proxy hears what it hears without one, whether the server likes the frames or not.

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use outrigger_sandbox::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{App, Process, peers, wait};

pub mod cases;

/// A connection.
#[derive(Clone, Debug)]
pub struct Case {
    /// Cases of one topic are counted together.
    pub topic: &'static str,
    /// Unique within the topic.
    pub name: String,
    /// The request, and what a client writes that does not wait for the response.
    pub head: Vec<u8>,
    /// What follows once the server has switched protocols. Then the client's side ends.
    pub steps: Vec<Step>,
}

/// What a client does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes all of it at once.
    Write(Vec<u8>),
    /// Writes it in pieces of so many bytes.
    Pieces(Vec<u8>, usize),
}

/// When a client ends its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// As soon as it has written all: what comes after that shows whether its end is told from that of the connection.
    Hasty,
    /// When the server has ended or is silent for a while, as clients of WebSocket do; at once where the case is about the end.
    Patient,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The status, and the fields that belong to the handshake.
    pub response: String,
    /// What comes after a switch of protocols.
    pub bytes: Vec<u8>,
    /// Whether the connection came to its end.
    pub ended: bool,
}

impl Heard {
    /// What differs from what the client hears without a proxy, if anything does.
    #[must_use]
    pub fn differs_from(&self, plain: &Self) -> Option<&'static str> {
        if self.response != plain.response {
            Some("response")
        } else if self.bytes != plain.bytes {
            Some("frames")
        } else {
            (self.ended != plain.ended).then_some("end")
        }
    }

    /// For people: the response, the frames, the end.
    #[must_use]
    pub fn described(&self) -> String {
        let end = if self.ended { "end" } else { "no end" };
        format!("{} | {} | {end}", self.response, frames(&self.bytes).join(", "))
    }
}

/// Runs all cases, many at a time; what was heard, in their order.
///
/// # Panics
/// When nothing accepts connections at `address`.
#[must_use]
pub fn run(client: Client, cases: &[Case], from: &Namespace, address: &str) -> Vec<Heard> {
    let (next, heard) = (AtomicUsize::new(0), Mutex::new(vec![None; cases.len()]));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return };
            let result = client.converse(case, address).unwrap_or_else(|error| panic!("{}: {error}", case.name));
            heard.lock().expect("no thread panicked")[at] = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| from.run(work).expect("a thread starts"));
        }
    });
    heard.into_inner().expect("no thread panicked").into_iter().map(|heard| heard.expect("each was run")).collect()
}

impl Client {
    fn converse(self, case: &Case, address: &str) -> io::Result<Heard> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&case.head)?;
        let (hears, heard) = mpsc::channel();
        let answers = stream.try_clone()?;
        thread::scope(|scope| {
            let reader = scope.spawn(move || read(answers, &hears));
            // The reader's end ends the channel, too.
            if heard.recv() == Ok(Told::Switched) {
                // The server may have closed already.
                let _ = case.steps.iter().try_for_each(|step| step.write_to(&mut stream));
                if self == Self::Patient && case.topic != cases::ENDS {
                    while heard.recv_timeout(QUIET).is_ok() {}
                }
            }
            let _ = stream.shutdown(Shutdown::Write);
            Ok(reader.join().expect("the reader does not panic"))
        })
    }
}

/// What a reader tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Switched,
    Refused,
    More,
}

/// Reads to the end; says as soon as it is known whether protocols were switched, and then whenever something comes.
fn read(mut stream: TcpStream, hears: &mpsc::Sender<Told>) -> Heard {
    let (mut bytes, mut response, mut buffer) = (Vec::new(), None, [0; 16 * 1024]);
    let ended = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) => break !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
        if response.is_none()
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let rest = bytes.split_off(end + 4);
            let said = handshake(&String::from_utf8_lossy(&bytes));
            // Whoever wants to know may have given up.
            let _ = hears.send(if said.starts_with(SWITCHED) { Told::Switched } else { Told::Refused });
            (response, bytes) = (Some(said), rest);
        } else if response.is_some() {
            let _ = hears.send(Told::More);
        }
    };
    let response = response.unwrap_or_default();
    if !response.starts_with(SWITCHED) {
        bytes.clear();
    }
    Heard { response, bytes, ended }
}

/// The status, and what a client looks at (RFC 6455 section 4.1), in an order of its own.
fn handshake(head: &str) -> String {
    let status = head.split(' ').nth(1).unwrap_or_default();
    let mut fields: Vec<String> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .filter(|(name, _)| name.starts_with("sec-websocket-") || status == SWITCHED && name == "upgrade")
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    fields.sort();
    [vec![status.to_owned()], fields].concat().join("; ")
}

impl Step {
    fn write_to(&self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Write(bytes) => stream.write_all(bytes),
            Self::Pieces(bytes, size) => bytes.chunks(*size).try_for_each(|piece| stream.write_all(piece)),
        }
    }
}

/// The frames of a server, as text: first byte, length, and the payload of short ones.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let [first, second, ..] = *bytes {
        let extra = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = bytes.get(2..2 + extra) else { break };
        let wide = extended.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        let length = if extra == 0 { usize::from(second & 0x7f) } else { wide };
        let Some(payload) = bytes.get(2 + extra..).and_then(|rest| rest.get(..length)) else { break };
        let shown = &payload[..length.min(32)];
        frames.push(format!("{first:#04x} {length} \"{}\"", shown.escape_ascii()));
        bytes = &bytes[2 + extra + length..];
    }
    if !bytes.is_empty() {
        frames.push(format!("{} bytes of a frame", bytes.len()));
    }
    frames
}

/// Starts gorilla's server on `port` of all addresses, and waits until it listens.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn gorilla(at: &Namespace, folder: &Path, port: u16) -> Process {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let mut command = peers::websocket::server(listen).expect("it was built before");
    let mut process = Process::start(&format!("{}-gorilla", at.name()), at, folder, &mut command);
    wait::until_true("gorilla's server listens", || {
        assert!(process.alive(), "{}", process.output());
        at.run(|| TcpStream::connect(("127.0.0.1", port))).expect("a thread starts").is_ok()
    });
    process
}

/// An app that switches to any protocol and sends back all it gets, so that a client can see whether a proxy touched a byte.
///
/// # Panics
/// When the port is taken.
#[must_use]
pub fn echo(at: &Namespace, port: u16) -> App {
    App::tcp(at, port, |mut stream| {
        Box::pin(async move {
            let mut bytes = Vec::new();
            let end = loop {
                if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                if !matches!(stream.read_buf(&mut bytes).await, Ok(length) if length > 0) {
                    return;
                }
            };
            let (mut from, mut to) = stream.split();
            // A connection that breaks is the test's own doing.
            if to.write_all(SWITCH).await.is_ok() && to.write_all(&bytes[end..]).await.is_ok() {
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            }
        })
    })
}

/// With the answer to [`cases::KEY`].
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const SWITCHED: &str = "101";
/// So many connections are open.
const AT_ONCE: usize = 16;
/// Whoever waits so long waits for more.
const QUIET: Duration = Duration::from_millis(500);
/// Only a broken path takes as long.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_frames_and_handshakes() {
        assert_eq!(frames(b"\x81\x02hi\x88\x02\x03\xe8"), ["0x81 2 \"hi\"", "0x88 2 \"\\x03\\xe8\""]);
        assert_eq!(frames(b"\x81\x05hi"), ["4 bytes of a frame"]);
        let head = "HTTP/1.1 101 S\r\nUpgrade: websocket\r\ndate: x\r\nSec-WebSocket-Accept: a\r\n\r\n";
        assert_eq!(handshake(head), "101; sec-websocket-accept: a; upgrade: websocket");
    }
}
