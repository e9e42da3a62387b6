//! Frames as the fuzzer makes them up, and as they are read back.

use arbitrary::Arbitrary;

/// The client's preface.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GO_AWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// As it is written.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(self.payload.len()).unwrap_or(0).to_be_bytes();
        [&length[..], &[self.kind, self.flags], &self.id.to_be_bytes(), &self.payload].concat()
    }

    /// The frame at the beginning of `bytes`, and how long it is.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let [a, b, c, kind, flags, i, j, k, l] = *bytes.first_chunk::<9>()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        let payload = bytes.get(9..9 + length)?.to_vec();
        Some((Self { kind, flags, id: u32::from_be_bytes([i, j, k, l]) & 0x7fff_ffff, payload }, 9 + length))
    }

    /// The first four octets of the payload.
    #[must_use]
    pub fn word(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |word| u32::from_be_bytes(*word))
    }

    /// Whether it says that the peer did wrong.
    #[must_use]
    pub fn complains(&self) -> bool {
        self.ends_connection() || self.kind == RST_STREAM
    }

    /// Whether it ends the connection for a fault.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        self.kind == GO_AWAY && self.payload.get(4..8).is_some_and(|code| code != [0; 4])
    }
}

/// All whole frames of `bytes`.
#[must_use]
pub fn parse_all(mut bytes: &[u8]) -> Vec<Frame> {
    let mut all = Vec::new();
    while let Some((frame, length)) = Frame::parse(bytes) {
        all.push(frame);
        bytes = &bytes[length..];
    }
    all
}

/// The frames by what is whole only together: a header block is looked at when all of it has come. One that never is is left out.
pub fn steps(frames: &[Frame]) -> impl Iterator<Item = &[Frame]> {
    let opens = |frame: &Frame| matches!(frame.kind, HEADERS | CONTINUATION) && frame.flags & END_HEADERS == 0;
    let mut rest = frames;
    std::iter::from_fn(move || {
        let last = rest.iter().position(|frame| !opens(frame))?;
        let (step, after) = rest.split_at(last + 1);
        rest = after;
        Some(step)
    })
}

/// What a fuzzed peer does; most of it is what a peer may do.
#[derive(Arbitrary, Clone, Debug)]
pub enum Made {
    Headers { id: u8, head: u8, fields: Vec<Field>, flags: u8, padding: u8, cut: Option<u8> },
    Data { id: u8, length: u16, end: bool, padding: Option<u8> },
    Settings(Vec<(u8, u32)>),
    SettingsAck,
    Ping(bool),
    WindowUpdate { id: u8, more: u32 },
    Reset { id: u8, code: u8 },
    GoAway { last: u8, code: u8 },
    Priority { id: u8, dependency: u8 },
    Raw { kind: u8, flags: u8, id: u8, payload: Vec<u8> },
}

/// A field of a head.
#[derive(Arbitrary, Clone, Debug)]
pub struct Field {
    name: u8,
    value: Value,
}

#[derive(Arbitrary, Clone, Debug)]
enum Value {
    Word(u8),
    Number(u8),
    Octets(Vec<u8>),
}

const NAMES: [&str; 24] = [
    "x-a",
    "x-b",
    "cookie",
    "content-length",
    "te",
    "connection",
    "host",
    "transfer-encoding",
    ":method",
    ":path",
    ":scheme",
    ":authority",
    ":status",
    ":protocol",
    "X-Upper",
    "upgrade",
    "keep-alive",
    "expect",
    "trailer",
    "",
    "content-type",
    "proxy-connection",
    "bad name",
    "user-agent",
];
const WORDS: [&str; 16] = [
    "a",
    "trailers",
    "close",
    "GET",
    "POST",
    "CONNECT",
    "/",
    "/b#c",
    "*",
    "https",
    "a.example",
    "b@a",
    "200",
    "103",
    " x",
    "OPTIONS",
];

impl Made {
    /// The frames that it is, for a connection whose peer opens `streams` (odd ids).
    #[must_use]
    pub fn frames(&self, is_request: bool) -> Vec<Frame> {
        // Few ids, so that they meet; 0 and even ones among them.
        let stream = |id: u8| u32::from(id % 12);
        let plain = |kind, flags, id, payload: &[u8]| Frame { kind, flags, id, payload: payload.to_vec() };
        match self {
            Self::Headers { id, head, fields, flags, padding, cut } => {
                let block = block(*head, fields, is_request);
                return headers(stream(*id), &block, *flags, *padding, *cut);
            }
            Self::Data { id, length, end, padding } => {
                let data: Vec<u8> = (0..length % 20_000).map(|at| at.to_be_bytes()[1]).collect();
                let end = u8::from(*end) * END_STREAM;
                match padding {
                    None => vec![plain(DATA, end, stream(*id), &data)],
                    Some(padding) => {
                        let payload = [&[*padding][..], &data, &vec![0; usize::from(*padding)]].concat();
                        vec![plain(DATA, end | PADDED, stream(*id), &payload)]
                    }
                }
            }
            Self::Settings(settings) => {
                let mut payload = Vec::new();
                for (name, value) in settings {
                    payload.extend_from_slice(&u16::from(name % 10).to_be_bytes());
                    payload.extend_from_slice(&value.to_be_bytes());
                }
                vec![plain(SETTINGS, 0, 0, &payload)]
            }
            Self::SettingsAck => vec![plain(SETTINGS, ACK, 0, &[])],
            Self::Ping(ack) => vec![plain(PING, u8::from(*ack), 0, b"pingpong")],
            Self::WindowUpdate { id, more } => vec![plain(WINDOW_UPDATE, 0, stream(*id), &more.to_be_bytes())],
            Self::Reset { id, code } => vec![plain(RST_STREAM, 0, stream(*id), &u32::from(*code).to_be_bytes())],
            Self::GoAway { last, code } => {
                let payload = [stream(*last).to_be_bytes(), u32::from(*code).to_be_bytes()].concat();
                vec![plain(GO_AWAY, 0, 0, &payload)]
            }
            Self::Priority { id, dependency } => {
                let payload = [&stream(*dependency).to_be_bytes()[..], &[7]].concat();
                vec![plain(PRIORITY, 0, stream(*id), &payload)]
            }
            Self::Raw { kind, flags, id, payload } => vec![plain(kind % 12, *flags, stream(*id), payload)],
        }
    }
}

/// A header block whose fields are literals: what it says does not depend on any table.
fn block(head: u8, fields: &[Field], is_request: bool) -> Vec<u8> {
    let mut block = Vec::new();
    let usual: &[&[u8]] = match (is_request, head % 8) {
        // The fields say it all, or they are trailers.
        (_, 0) => &[],
        (true, 1) => &[&[0x83, 0x86, 0x84, 0x41, 1, b'a']],
        (true, 2) => &[&[0x82, 0x86, 0x84]],
        // CONNECT a:1
        (true, 3) => &[&[0x02, 7], b"CONNECT", &[0x41, 3], b"a:1"],
        // HEAD, https
        (true, 4) => &[&[0x02, 4], b"HEAD", &[0x87, 0x85, 0x41, 1, b'a']],
        (true, _) => &[&[0x82, 0x86, 0x84, 0x41, 1, b'a']],
        (false, 1) => &[&[0x89]],
        (false, 2) => &[&[0x8b]],
        // 103, 100
        (false, 3) => &[&[0x08, 3], b"103"],
        (false, 4) => &[&[0x08, 3], b"100"],
        (false, _) => &[&[0x88]],
    };
    block.extend(usual.iter().copied().flatten());
    for Field { name, value } in fields.iter().take(20) {
        let number;
        let value = match value {
            Value::Word(word) => WORDS[usize::from(*word) % WORDS.len()].as_bytes(),
            Value::Number(value) => {
                number = value.to_string();
                number.as_bytes()
            }
            Value::Octets(octets) => &octets[..octets.len().min(100)],
        };
        let name = NAMES[usize::from(*name) % NAMES.len()].as_bytes();
        for (first, part) in [(Some(0), name), (None, value)] {
            block.extend(first);
            block.push(u8::try_from(part.len()).unwrap_or(0));
            block.extend_from_slice(part);
        }
    }
    block
}

/// A head in HEADERS and, if it is cut, CONTINUATION.
fn headers(id: u32, block: &[u8], flags: u8, padding: u8, cut: Option<u8>) -> Vec<Frame> {
    // Padding and priority seldom: they are in other frames' way.
    let mut flags = flags & (END_STREAM | if padding % 4 == 0 { PADDED | WITH_PRIORITY } else { 0 });
    let cut = cut.map(|cut| usize::from(cut) % (block.len() + 1));
    let mut payload = Vec::new();
    if flags & PADDED != 0 {
        payload.push(padding);
    }
    if flags & WITH_PRIORITY != 0 {
        payload.extend_from_slice(&[0, 0, 0, padding % 16, 1]);
    }
    payload.extend_from_slice(&block[..cut.unwrap_or(block.len())]);
    if flags & PADDED != 0 {
        payload.resize(payload.len() + usize::from(padding), 0);
    }
    if cut.is_none() {
        flags |= END_HEADERS;
    }
    let mut frames = vec![Frame { kind: HEADERS, flags, id, payload }];
    if let Some(cut) = cut {
        frames.push(Frame { kind: CONTINUATION, flags: END_HEADERS, id, payload: block[cut..].to_vec() });
    }
    frames
}
