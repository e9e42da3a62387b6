//! The cases, by the sections of RFC 6455 and RFC 7692. Their topics are those of the Autobahn test suite, whose program needs Python 2.

use Step::{Pieces, Write};

use super::{Case, Step};

/// Cases for a server that speaks WebSocket.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    cases.messages();
    cases.pings();
    cases.reserved();
    cases.fragments();
    cases.texts();
    cases.closes();
    cases.lengths();
    cases.ends();
    cases.splits();
    cases.compression();
    cases.handshakes();
    cases.0
}

/// Cases for a server that sends back what it gets: all that a client writes after its request belongs to the new protocol. Clients that do not wait for
/// the response are among them.
#[must_use]
pub fn as_bytes() -> Vec<Case> {
    let mut cases = all();
    cases.retain(|case| case.topic != HANDSHAKE);
    for length in [0, 1, 16 * 1024, 256 * 1024] {
        let head = [head("").into_bytes(), frame(FIN | BINARY, &vec![b'e'; length])].concat();
        cases.push(Case { topic: EARLY, name: format!("{length} bytes"), head, steps: vec![Write(goodbye())] });
    }
    cases
}

struct Cases(Vec<Case>);

impl Cases {
    /// A client that closes in the end.
    fn add(&mut self, topic: &'static str, name: impl Into<String>, mut steps: Vec<Step>) {
        steps.push(Write(goodbye()));
        self.add_as_is(topic, name, steps);
    }

    fn add_as_is(&mut self, topic: &'static str, name: impl Into<String>, steps: Vec<Step>) {
        self.0.push(Case { topic, name: name.into(), head: head("").into_bytes(), steps });
    }

    /// RFC 6455 section 5.6.
    fn messages(&mut self) {
        for (kind, name) in [(TEXT, "text"), (BINARY, "binary")] {
            for length in [0, 1, 125, 126, 127, 128, 4096, 65_535, 65_536, 1 << 20] {
                let message = frame(FIN | kind, &vec![b'*'; length]);
                self.add("Messages", format!("{name}, {length} bytes"), vec![Write(message)]);
            }
            for (length, size) in [(125, 1), (126, 1), (4096, 7), (65_536, 997), (1 << 20, 4093)] {
                let message = frame(FIN | kind, &vec![b'*'; length]);
                self.add(
                    "Messages",
                    format!("{name}, {length} bytes in pieces of {size}"),
                    vec![Pieces(message, size)],
                );
            }
        }
        let many = (0..1000).flat_map(|n| frame(FIN | TEXT, format!("message {n}").as_bytes())).collect();
        self.add("Messages", "1000 at once", vec![Write(many)]);
        self.add("Messages", "of zeros, with a mask of zeros", vec![Write(masked(FIN | BINARY, [0; 4], &[0; 64]))]);
        self.add("Messages", "like a request", vec![Write(masked(FIN | TEXT, [0; 4], REQUEST))]);
        self.add("Messages", "the bytes of a request, no frame", vec![Write(REQUEST.to_vec())]);
        self.add(
            "Messages",
            "the preface of HTTP/2, no frame",
            vec![Write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec())],
        );
    }

    /// RFC 6455 sections 5.5.2 and 5.5.3.
    fn pings(&mut self) {
        for length in [0, 5, 125, 126, 65_536] {
            self.add("Pings", format!("{length} bytes"), vec![Write(frame(FIN | PING, &vec![0xfe; length]))]);
        }
        self.add("Pings", "in pieces of a byte", vec![Pieces(frame(FIN | PING, &[0xff; 125]), 1)]);
        self.add("Pings", "in fragments", vec![Write([frame(PING, b"a"), frame(FIN | CONTINUATION, b"b")].concat())]);
        self.add("Pings", "a pong that nothing asked for", vec![Write(frame(FIN | PONG, b"unsolicited"))]);
        self.add("Pings", "a pong of 126 bytes", vec![Write(frame(FIN | PONG, &[b'p'; 126]))]);
        let mixed = [frame(FIN | PONG, b"unsolicited"), frame(FIN | PING, b"ping")].concat();
        self.add("Pings", "behind a pong", vec![Write(mixed)]);
        let ten: Vec<u8> = (0..10).flat_map(|n| frame(FIN | PING, format!("ping {n}").as_bytes())).collect();
        self.add("Pings", "10 at once", vec![Write(ten.clone())]);
        self.add("Pings", "10 in pieces of a byte", vec![Pieces(ten, 1)]);
        let flood = (0..2000).flat_map(|n| frame(FIN | PING, format!("{n:0125}").as_bytes())).collect();
        self.add("Pings", "2000 at once", vec![Write(flood)]);
    }

    /// RFC 6455 section 5.2.
    fn reserved(&mut self) {
        for bits in 1..8_u8 {
            let one = frame(FIN | bits << 4 | TEXT, b"reserved");
            self.add("Reserved bits", format!("{bits}"), vec![Write(one.clone())]);
            let between = [frame(FIN | TEXT, b"before"), one, frame(FIN | PING, b"after")].concat();
            self.add("Reserved bits", format!("{bits}, between others, in pieces of a byte"), vec![Pieces(between, 1)]);
        }
        self.add("Reserved bits", "of a ping", vec![Write(frame(FIN | 0x70 | PING, b"reserved"))]);
        self.add_as_is("Reserved bits", "of a close", vec![Write(frame(FIN | 0x70 | CLOSE, &[3, 232]))]);
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            let between = [frame(FIN | TEXT, b"before"), frame(FIN | opcode, b"reserved"), frame(FIN | PING, b"after")];
            self.add("Reserved opcodes", format!("{opcode}"), vec![Write(between.concat())]);
            self.add("Reserved opcodes", format!("{opcode}, without payload"), vec![Write(frame(FIN | opcode, b""))]);
        }
    }

    /// RFC 6455 section 5.4.
    fn fragments(&mut self) {
        let mut add = |name: &str, frames: &[Vec<u8>]| {
            self.add("Fragments", name, vec![Write(frames.concat())]);
            self.add("Fragments", format!("{name}, in pieces of a byte"), vec![Pieces(frames.concat(), 1)]);
        };
        let (first, more) = (frame(TEXT, b"fragment 1"), frame(CONTINUATION, b"fragment 2"));
        let (last, ping) = (frame(FIN | CONTINUATION, b"fragment 3"), frame(FIN | PING, b"between"));
        let whole = frame(FIN | TEXT, b"whole");
        add("two", &[first.clone(), last.clone()]);
        add("three, a ping between each", &[&first, &ping, &more, &ping, &last].map(Clone::clone));
        add("without payload", &[frame(TEXT, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")]);
        add("a last one without a first", &[last.clone(), whole.clone()]);
        add("a middle one without a first", &[more.clone(), whole.clone()]);
        add("a whole message between", &[first.clone(), whole, last.clone()]);
        add("two first ones", &[first.clone(), first.clone(), last.clone()]);
        add("of a pong", &[frame(PONG, b"a"), last.clone()]);
        add("of a close", &[frame(CLOSE, &[3]), frame(FIN | CONTINUATION, &[232])]);
        add("a close before the last", &[first, more, goodbye(), last]);
        for (size, count) in [(1, 4096), (1024, 256), (65_536, 16)] {
            let part = frame(CONTINUATION, &vec![b'f'; size]);
            let message = [frame(BINARY, b""), part.repeat(count), frame(FIN | CONTINUATION, b"")].concat();
            self.add("Fragments", format!("{count} of {size} bytes"), vec![Write(message)]);
        }
    }

    /// RFC 6455 section 8.1.
    fn texts(&mut self) {
        const TEXTS: &[(&str, &[u8])] = &[
            ("two, three and four bytes", "κόσμε, 東京, 🦀".as_bytes()),
            ("a byte order mark", b"\xef\xbb\xbf"),
            ("the last code point", b"\xf4\x8f\xbf\xbf"),
            ("a zero", b"a\0b"),
            ("beyond the last code point", b"\xf4\x90\x80\x80"),
            ("a surrogate", b"\xed\xa0\x80"),
            ("a surrogate in the middle", b"\xce\xba\xed\xa0\x80edited"),
            ("overlong", b"\xc0\xaf"),
            ("overlong, four bytes", b"\xf0\x80\x80\xaf"),
            ("a continuation alone", b"\x80"),
            ("a first byte alone", b"\xce"),
            ("not a first byte", b"\xfe\xff"),
        ];
        for (name, text) in TEXTS {
            self.add("UTF-8", *name, vec![Write(frame(FIN | TEXT, text))]);
            self.add("UTF-8", format!("{name}, in pieces of a byte"), vec![Pieces(frame(FIN | TEXT, text), 1)]);
            let (a, b) = text.split_at(text.len() / 2);
            let halves = [frame(TEXT, a), frame(FIN | CONTINUATION, b)].concat();
            self.add("UTF-8", format!("{name}, in two fragments"), vec![Write(halves)]);
        }
    }

    /// RFC 6455 sections 5.5.1 and 7.
    fn closes(&mut self) {
        let mut add = |name: String, frames: &[&[u8]]| self.add_as_is("Closes", name, vec![Write(frames.concat())]);
        add("without payload".to_owned(), &[&frame(FIN | CLOSE, b"")]);
        add("one byte".to_owned(), &[&frame(FIN | CLOSE, &[3])]);
        add("two".to_owned(), &[&goodbye(), &goodbye()]);
        add("then a ping".to_owned(), &[&goodbye(), &frame(FIN | PING, b"late")]);
        add("then a message".to_owned(), &[&goodbye(), &frame(FIN | TEXT, b"late")]);
        add("then 256 KiB".to_owned(), &[&goodbye(), &frame(FIN | BINARY, &vec![b'l'; 256 << 10])]);
        add("behind 256 KiB".to_owned(), &[&frame(FIN | BINARY, &vec![b'm'; 256 << 10]), &goodbye()]);
        for (name, reason) in [("a reason", &b"done"[..]), ("a reason of 123 bytes", &[b'r'; 123])] {
            add(name.to_owned(), &[&close(1000, reason)]);
        }
        add("a reason of 124 bytes".to_owned(), &[&close(1000, &[b'r'; 124])]);
        add("a reason that is not UTF-8".to_owned(), &[&close(1000, b"\xed\xa0\x80")]);
        let valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
        let invalid = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
        for code in valid.into_iter().chain(invalid) {
            add(format!("code {code}"), &[&close(code, b"code")]);
        }
    }

    /// RFC 6455 sections 5.2 and 5.3.
    fn lengths(&mut self) {
        let mut add = |name: &str, bytes: &[u8]| self.add("Lengths and masks", name, vec![Write(bytes.to_vec())]);
        add("5 in two bytes", b"\x81\xfe\x00\x05\0\0\0\0hello");
        add("5 in eight bytes", b"\x81\xff\0\0\0\0\0\0\0\x05\0\0\0\0hello");
        add("300 in eight bytes", &[&b"\x82\xff\0\0\0\0\0\0\x01\x2c\0\0\0\0"[..], &[b'l'; 300]].concat());
        add("the highest bit of eight bytes", b"\x82\xff\x80\0\0\0\0\0\0\x05\0\0\0\0hello");
        add("the largest, then 5 bytes", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0hello");
        add("4 GiB, then 5 bytes", b"\x82\xff\0\0\0\x01\0\0\0\0\0\0\0\0hello");
        add("no mask", b"\x81\x05hello");
        add("no mask, a ping", b"\x89\x05hello");
        add("no mask behind a mask", &[&frame(FIN | TEXT, b"masked")[..], b"\x81\x05hello"].concat());
        for mask in [[0xff; 4], [0, 0, 0, 1], *b"GET "] {
            let name = format!("mask {}", mask.escape_ascii());
            self.add("Lengths and masks", name, vec![Write(masked(FIN | TEXT, mask, b"a text behind a mask"))]);
        }
    }

    /// A client whose side ends somewhere.
    fn ends(&mut self) {
        let message = frame(FIN | TEXT, b"unfinished");
        for end in 0..message.len() {
            self.add_as_is(ENDS, format!("after {end} bytes of a frame"), vec![Write(message[..end].to_vec())]);
        }
        self.add_as_is(ENDS, "after a message, without a close", vec![Write(message)]);
        self.add_as_is(ENDS, "after a first fragment", vec![Write(frame(TEXT, b"unfinished"))]);
        let half = frame(FIN | BINARY, &vec![b'u'; 512 << 10])[..256 << 10].to_vec();
        self.add_as_is(ENDS, "after a quarter of a MiB", vec![Write(half)]);
    }

    /// Two writes, at every byte of some frames.
    fn splits(&mut self) {
        let frames = [
            frame(TEXT, b"frag"),
            frame(FIN | PING, b"between"),
            frame(FIN | CONTINUATION, b"ments"),
            frame(FIN | BINARY, &[b's'; 126]),
            goodbye(),
        ];
        let bytes = frames.concat();
        for at in (1..bytes.len()).filter(|at| *at < 48 || at % 16 == 0) {
            let (a, b) = bytes.split_at(at);
            self.add_as_is("Splits", format!("at {at}"), vec![Write(a.to_vec()), Write(b.to_vec())]);
        }
    }

    /// RFC 7692.
    fn compression(&mut self) {
        const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        const STORED: &[u8] = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
        const FINAL: &[u8] = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
        let compressed = FIN | RSV1 | TEXT;
        let twice = [frame(compressed, HELLO), frame(compressed, b"\xf2\x00\x11\x00\x00")].concat();
        let fragments = [frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | CONTINUATION, &HELLO[3..])].concat();
        let marked = [frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | RSV1 | CONTINUATION, &HELLO[3..])].concat();
        let between =
            [frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | PING, b"p"), frame(FIN | CONTINUATION, &HELLO[3..])];
        for (name, bytes) in [
            ("a message", frame(compressed, HELLO)),
            ("a stored block", frame(compressed, STORED)),
            ("a final block", frame(compressed, FINAL)),
            ("a context that was given up", twice),
            ("fragments", fragments),
            ("fragments that are marked", marked),
            ("fragments with a ping between", between.concat()),
            ("a message that is not compressed", frame(FIN | TEXT, b"plain")),
            ("a ping that is marked", frame(FIN | RSV1 | PING, HELLO)),
            ("no deflate data", frame(compressed, b"\xff\xff\xff\xff")),
            ("deflate data without an end", frame(compressed, &HELLO[..4])),
            ("no data", frame(compressed, b"")),
        ] {
            let head = head("Sec-WebSocket-Extensions: permessage-deflate\r\n").into_bytes();
            let steps = vec![Write(bytes), Write(goodbye())];
            self.0.push(Case { topic: "Compression", name: name.to_owned(), head, steps });
        }
        for offer in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=\"10\"",
            "permessage-deflate; unknown=1",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate;;",
        ] {
            let head = head(&format!("Sec-WebSocket-Extensions: {offer}\r\n")).into_bytes();
            let steps = vec![Write(frame(compressed, HELLO)), Write(goodbye())];
            self.0.push(Case { topic: "Compression", name: format!("offer `{offer}`"), head, steps });
        }
    }

    /// RFC 6455 section 4.
    fn handshakes(&mut self) {
        let plain = head("");
        let mut add = |name: &str, head: String| {
            let steps = vec![Write(frame(FIN | TEXT, b"after the handshake")), Write(goodbye())];
            self.0.push(Case { topic: HANDSHAKE, name: name.to_owned(), head: head.into_bytes(), steps });
        };
        let with = |from: &str, to: &str| plain.replace(from, to);
        add("a subprotocol", head("Sec-WebSocket-Protocol: other, echo.outrigger.io\r\n"));
        add(
            "a subprotocol in two fields",
            head("Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: echo.outrigger.io\r\n"),
        );
        add("an unknown subprotocol", head("Sec-WebSocket-Protocol: other\r\n"));
        add("an origin", head("Origin: http://elsewhere.example\r\n"));
        add("names in other cases", with("Sec-WebSocket-Key", "sEC-wEBsOCKET-kEY"));
        add("`Upgrade: WebSocket`", with("Upgrade: websocket", "Upgrade: WebSocket"));
        add("`Connection: keep-alive, Upgrade`", with("Connection: Upgrade", "Connection: keep-alive, Upgrade"));
        add("`Connection` in two fields", with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"));
        add("no `Connection`", with("Connection: Upgrade\r\n", ""));
        add("`Connection: close`", with("Connection: Upgrade", "Connection: close"));
        add("no `Upgrade`", with("Upgrade: websocket\r\n", ""));
        add("another `Upgrade`", with("Upgrade: websocket", "Upgrade: other"));
        add("no key", with(KEY, ""));
        add("a key that is too short", with(KEY, "Sec-WebSocket-Key: c2hvcnQ=\r\n"));
        add("a key that is not base64", with(KEY, "Sec-WebSocket-Key: ????????????????????????\r\n"));
        add("two keys", head(KEY));
        add("version 8", with("Version: 13", "Version: 8"));
        add("no version", with("Sec-WebSocket-Version: 13\r\n", ""));
        add("POST", with("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n"));
        add("a query", with("GET /chat", "GET /chat?a=b&c=%20"));
        add("a path that is refused", with("GET /chat", "GET /refused"));
        add("fields of 16 KiB", head(&format!("x-long: {}\r\n", "l".repeat(16 << 10))));
        add("cookies", head("Cookie: a=1; b=2\r\nCookie: c=3\r\n"));
    }
}

fn head(fields: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY}Sec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// A frame with a mask, its length in as few bytes as it takes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, [0x37, 0xfa, 0x21, 0x3d], payload)
}

fn masked(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap_or_default()),
        medium @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(medium).unwrap_or_default().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn goodbye() -> Vec<u8> {
    close(1000, b"")
}

/// The topic of cases that are about the end of the client's side.
pub const ENDS: &str = "Ends";
const HANDSHAKE: &str = "Handshakes";
const EARLY: &str = "Before the response";
/// The key of all handshakes.
pub const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const REQUEST: &[u8] = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
