//! Floods of HTTP/2 frames, written by hand: each ends its connection, costs the app nothing and the sidecar little memory, and a neighbour's
//! requests go on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, Reply, enter, yaml};

use super::neighbour::beside_a_neighbour;
use super::{WEB, resident};

/// What the n-th step of a flood writes.
type Step = fn(u32, &mut Vec<u8>);

struct Flood {
    name: &'static str,
    /// Comes once, before the steps.
    first: Step,
    step: Step,
    /// The connection must be ended before so many.
    steps: u32,
}

const FLOODS: &[Flood] = &[
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

#[test]
fn floods_through_the_outbound_sidecar_end_their_connection_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    place.flood(false, &format!("{WEB}:80"));
}

#[test]
fn floods_from_outside_the_mesh_end_their_connection_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    let address = format!("{}:8080", place.web.ip());
    place.flood(true, &address);
}

struct Place {
    app: App,
    outside: Namespace,
    client: Pod,
    web: Pod,
    sidecars: [u32; 2],
    _mesh: Mesh,
}

impl Place {
    fn new() -> Option<Self> {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
        let mut web = mesh.pod("web-1", "web");
        // A flood's requests are never answered in time to make up for what it does.
        let app = App::http(&web, 8080, |seen| {
            let patience = if seen.path.starts_with("/neighbour") { Duration::ZERO } else { Duration::from_secs(60) };
            Reply::ok(format!("{} ", seen.path)).after(patience)
        });
        let mut client = mesh.pod("client-1", "client");
        let outside = mesh.bare("outside");
        let sidecars = [client.sidecar().id(), web.sidecar().id()];
        Some(Self { app, outside, client, web, sidecars, _mesh: mesh })
    }

    fn flood(&self, from_outside: bool, address: &str) {
        let from = if from_outside { &self.outside } else { &*self.client };
        let memory = || self.sidecars.map(resident);
        for Flood { name, first, step, steps } in FLOODS {
            self.app.forget();
            let before = memory();
            let flood = || from.run(|| is_ended(address, *first, *step, *steps)).unwrap();
            let (ended, after) = beside_a_neighbour(from, address, || (flood(), memory()));

            assert!(ended, "{name}: the connection goes on");
            let reached = self.app.seen().iter().filter(|seen| !seen.path.starts_with("/neighbour")).count();
            assert!(reached <= MOST_REQUESTS, "{name}: {reached} requests reached the app");
            for (before, after) in before.into_iter().zip(after) {
                assert!(after < before + MOST_KIB, "{name}: {before} KiB, then {after} KiB");
            }
        }
    }
}

/// Says whether the connection was ended by the flood.
fn is_ended(address: &str, first: Step, step: Step, steps: u32) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 16_384];
        loop {
            match answers.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                // Only silence means that it goes on.
                Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
        }
    });
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    first(0, &mut out);
    for n in 0..steps {
        step(n, &mut out);
        if out.len() >= AT_ONCE {
            if stream.write_all(&out).is_err() {
                break;
            }
            out.clear();
        }
    }
    // Fails where the flood has been ended already.
    let _ = stream.write_all(&out);
    reader.join().unwrap()
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
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
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
/// A connection that is silent for so long goes on.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a flood may have the app do.
const MOST_REQUESTS: usize = 1000;
/// What a flood may cost a sidecar, KiB.
const MOST_KIB: u64 = 8 * 1024;
