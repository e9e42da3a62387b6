//! From fields to a header block (RFC 7541 §6). What repeats enters the dynamic table and is one octet from then on; what differs each
//! time does not enter, or it would push out what repeats.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, request};

use super::table::STATIC;
use super::{FIELD_OVERHEAD, TABLE_SIZE, integer};

/// Encodes the header blocks of one direction of a connection, in their order.
#[derive(Debug)]
pub(in crate::http2) struct Encoder {
    /// The newest is at the back; of one place in all three are the entry, the tag of the field and the tag of its name.
    entries: VecDeque<Entry>,
    fields: Vec<u16>,
    names: Vec<u16>,
    size: usize,
    limit: usize,
    /// Tags of fields that were seen once: at its second sight a field enters the table.
    seen: [u16; SEEN],
    /// The least and the last limit since the last block, which the next one has to say (RFC 7541 §4.2).
    resized: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    value: Bytes,
}

/// A name as the table keeps it: of a pseudo-header the index in the static table.
#[derive(Clone, Debug)]
enum Name {
    Pseudo(usize),
    Header(HeaderName),
}

impl Encoder {
    pub(in crate::http2) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            fields: Vec::new(),
            names: Vec::new(),
            size: 0,
            limit: TABLE_SIZE,
            seen: [0; SEEN],
            resized: None,
        }
    }

    /// Obeys the peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(in crate::http2) fn resize(&mut self, limit: usize) {
        let limit = limit.min(TABLE_SIZE);
        if limit == self.limit {
            return;
        }
        let least = self.resized.map_or(limit, |(least, _)| least.min(limit));
        self.resized = Some((least, limit));
        self.limit = limit;
        self.evict(limit);
    }

    /// Appends the block of a request's head to `out`.
    pub(in crate::http2) fn request(&mut self, parts: &request::Parts, out: &mut Vec<u8>) {
        self.begin(out);
        let uri = &parts.uri;
        match parts.method {
            Method::GET => out.push(0x80 | 2),
            Method::POST => out.push(0x80 | 3),
            ref method => self.pseudo(2, method.as_str().as_bytes(), out),
        }
        // RFC 9113 §8.5: CONNECT has neither scheme nor path.
        if parts.method != Method::CONNECT {
            match uri.scheme_str() {
                Some("https") => out.push(0x80 | 7),
                Some("http") | None => out.push(0x80 | 6),
                Some(scheme) => self.pseudo(6, scheme.as_bytes(), out),
            }
        }
        if let Some(authority) = uri.authority() {
            self.pseudo(1, authority.as_str().as_bytes(), out);
        }
        if parts.method != Method::CONNECT {
            self.path(&parts.method, uri, out);
        }
        self.headers(&parts.headers, out);
    }

    fn path(&mut self, method: &Method, uri: &Uri, out: &mut Vec<u8>) {
        match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
            // RFC 9113 §8.3.1: OPTIONS of no path asks about the server.
            None | Some("") if method == Method::OPTIONS => self.pseudo(4, b"*", out),
            None | Some("" | "/") => out.push(0x80 | 4),
            Some(path) => self.pseudo(4, path.as_bytes(), out),
        }
    }

    /// Appends the block of a response's head to `out`.
    pub(in crate::http2) fn response(&mut self, status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
        self.begin(out);
        match status.as_u16() {
            200 => out.push(0x80 | 8),
            204 => out.push(0x80 | 9),
            206 => out.push(0x80 | 10),
            304 => out.push(0x80 | 11),
            400 => out.push(0x80 | 12),
            404 => out.push(0x80 | 13),
            500 => out.push(0x80 | 14),
            _ => self.pseudo(8, status.as_str().as_bytes(), out),
        }
        self.headers(headers, out);
    }

    /// Appends the block of trailers to `out`.
    pub(in crate::http2) fn trailers(&mut self, trailers: &HeaderMap, out: &mut Vec<u8>) {
        self.begin(out);
        self.headers(trailers, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((least, last)) = self.resized.take() else { return };
        if least < last {
            integer::encode(out, 0x20, 5, least);
        }
        integer::encode(out, 0x20, 5, last);
    }

    fn pseudo(&mut self, index: usize, value: &[u8], out: &mut Vec<u8>) {
        // Of a pseudo-header the index is as good a name as any.
        let name_tag = tag(mix(index as u64 + 1, b""));
        let field_tag = tag(mix(index as u64 + 1, value));
        let same = |entry: &Entry| matches!(entry.name, Name::Pseudo(other) if other == index) && entry.value == value;
        if let Some(place) = find(&self.fields, field_tag, |place| same(&self.entries[place])) {
            integer::encode(out, 0x80, 7, self.index(place));
            return;
        }
        let enters = self.second_sight(field_tag) && self.fits(value.len());
        if enters {
            integer::encode(out, 0x40, 6, index);
        } else {
            integer::encode(out, 0, 4, index);
        }
        string(value, out);
        if enters {
            let entry = Entry { name: Name::Pseudo(index), value: Bytes::copy_from_slice(value) };
            self.insert(entry, STATIC[index - 1].0.len(), field_tag, name_tag);
        }
    }

    fn headers(&mut self, headers: &HeaderMap, out: &mut Vec<u8>) {
        for (name, value) in headers {
            self.header(name, value, out);
        }
    }

    fn header(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut Vec<u8>) {
        let text = name.as_str();
        let name_hash = mix(0, text.as_bytes());
        let field_tag = tag(mix(name_hash, value.as_bytes()));
        let entries = &self.entries;
        let same = |place: usize| match &entries[place] {
            Entry { name: Name::Header(other), value: held } => other == name && *held == value.as_bytes(),
            Entry { name: Name::Pseudo(_), .. } => false,
        };
        if !value.is_sensitive()
            && let Some(place) = find(&self.fields, field_tag, same)
        {
            integer::encode(out, 0x80, 7, self.index(place));
            return;
        }
        if !is_forbidden(name, value) {
            self.literal(name, value, [field_tag, tag(name_hash)], out);
        }
    }

    fn literal(&mut self, name: &HeaderName, value: &HeaderValue, tags: [u16; 2], out: &mut Vec<u8>) {
        let [field_tag, name_tag] = tags;
        let text = name.as_str();
        let known = static_index(text).or_else(|| {
            let same = |place: usize| matches!(&self.entries[place].name, Name::Header(other) if other == name);
            find(&self.names, name_tag, same).map(|place| self.index(place))
        });
        // A name of its own enters with its first value, so that the peer has not to read and check it each time.
        let enters = !value.is_sensitive()
            && self.fits(text.len() + value.len())
            && (known.is_none() || (!is_volatile(text) && self.second_sight(field_tag)));
        let (form, prefix) = match (enters, value.is_sensitive()) {
            (true, _) => (0x40, 6),
            (false, true) => (0x10, 4),
            (false, false) => (0, 4),
        };
        integer::encode(out, form, prefix, known.unwrap_or(0));
        if known.is_none() {
            string(text.as_bytes(), out);
        }
        string(value.as_bytes(), out);
        if enters {
            let entry = Entry { name: Name::Header(name.clone()), value: Bytes::copy_from_slice(value.as_bytes()) };
            self.insert(entry, text.len(), field_tag, name_tag);
        }
    }

    /// The index the peer knows the entry at `place` by.
    fn index(&self, place: usize) -> usize {
        STATIC.len() + self.entries.len() - place
    }

    fn fits(&self, length: usize) -> bool {
        // One field may not push out most of the others.
        length + FIELD_OVERHEAD <= self.limit / 4
    }

    fn second_sight(&mut self, tag: u16) -> bool {
        let slot = &mut self.seen[usize::from(tag) % SEEN];
        let again = *slot == tag;
        *slot = tag;
        again
    }

    fn insert(&mut self, entry: Entry, name_length: usize, field_tag: u16, name_tag: u16) {
        let size = name_length + entry.value.len() + FIELD_OVERHEAD;
        self.evict(self.limit.saturating_sub(size));
        self.size += size;
        self.entries.push_back(entry);
        self.fields.push(field_tag);
        self.names.push(name_tag);
    }

    fn evict(&mut self, room: usize) {
        let mut gone = 0;
        while self.size > room {
            let Some(oldest) = self.entries.pop_front() else { break };
            let name = match &oldest.name {
                Name::Pseudo(index) => STATIC[index - 1].0.len(),
                Name::Header(name) => name.as_str().len(),
            };
            self.size -= name + oldest.value.len() + FIELD_OVERHEAD;
            gone += 1;
        }
        self.fields.drain(..gone);
        self.names.drain(..gone);
    }
}

/// The place of `tag` in `tags` for which `same` holds. Whole lines are compared at once.
fn find(tags: &[u16], tag: u16, same: impl Fn(usize) -> bool) -> Option<usize> {
    for (line, tags) in tags.chunks(LINE).enumerate() {
        let any = tags.iter().fold(false, |any, other| any | (*other == tag));
        if !any {
            continue;
        }
        for (at, other) in tags.iter().enumerate() {
            if *other == tag && same(line * LINE + at) {
                return Some(line * LINE + at);
            }
        }
    }
    None
}

/// A quick hash. Nobody gains by making two fields meet: they are compared, and the table is small.
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
    }
    let mut last = 0;
    for byte in rest {
        last = (last << 8) | u64::from(*byte);
    }
    (hash ^ last).wrapping_mul(FACTOR)
}

fn tag(hash: u64) -> u16 {
    let [.., a, b] = hash.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn string(value: &[u8], out: &mut Vec<u8>) {
    integer::encode(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// What an intermediary must not pass on (RFC 9113 §8.2.2).
fn is_forbidden(name: &HeaderName, value: &HeaderValue) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => true,
        header::TE => value != "trailers",
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Names whose values do not come again, or which a stranger on the same connection could find out by what their octets cost.
fn is_volatile(name: &str) -> bool {
    matches!(
        name,
        "content-length" | "grpc-timeout" | "traceparent" | "x-request-id" | "authorization" | "proxy-authorization"
    )
}

fn static_index(name: &str) -> Option<usize> {
    let index = match name {
        "accept-charset" => 15,
        "accept-encoding" => 16,
        "accept-language" => 17,
        "accept-ranges" => 18,
        "accept" => 19,
        "access-control-allow-origin" => 20,
        "age" => 21,
        "allow" => 22,
        "authorization" => 23,
        "cache-control" => 24,
        "content-disposition" => 25,
        "content-encoding" => 26,
        "content-language" => 27,
        "content-length" => 28,
        "content-location" => 29,
        "content-range" => 30,
        "content-type" => 31,
        "cookie" => 32,
        "date" => 33,
        "etag" => 34,
        "expect" => 35,
        "expires" => 36,
        "from" => 37,
        "host" => 38,
        "if-match" => 39,
        "if-modified-since" => 40,
        "if-none-match" => 41,
        "if-range" => 42,
        "if-unmodified-since" => 43,
        "last-modified" => 44,
        "link" => 45,
        "location" => 46,
        "max-forwards" => 47,
        "proxy-authenticate" => 48,
        "proxy-authorization" => 49,
        "range" => 50,
        "referer" => 51,
        "refresh" => 52,
        "retry-after" => 53,
        "server" => 54,
        "set-cookie" => 55,
        "strict-transport-security" => 56,
        "user-agent" => 58,
        "vary" => 59,
        "via" => 60,
        "www-authenticate" => 61,
        _ => return None,
    };
    Some(index)
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const SEEN: usize = 64;
/// As many tags as two vector registers hold.
const LINE: usize = 16;
