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
    fields: Tags,
    names: Tags,
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
            fields: Tags::default(),
            names: Tags::default(),
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
        if let Some(place) = self.fields.find(field_tag, |place| same(&self.entries[place])) {
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
            && let Some(place) = self.fields.find(field_tag, same)
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
            self.names.find(name_tag, same).map(|place| self.index(place))
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
        let slot = &mut self.seen[usize::from(tag >> 1) % SEEN];
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
        self.fields.forget(gone);
        self.names.forget(gone);
    }
}

/// Tags in the order of the entries, in lines that are compared as a whole; what is empty is 0, which is no tag.
#[derive(Debug, Default)]
struct Tags {
    lines: Vec<[u16; LINE]>,
    count: usize,
}

impl Tags {
    fn push(&mut self, tag: u16) {
        if self.count == self.lines.len() * LINE {
            self.lines.push([0; LINE]);
        }
        self.lines[self.count / LINE][self.count % LINE] = tag;
        self.count += 1;
    }

    /// The place of `tag` for which `same` holds.
    fn find(&self, tag: u16, same: impl Fn(usize) -> bool) -> Option<usize> {
        for (at, line) in self.lines.iter().enumerate() {
            let any = line.iter().fold(false, |any, other| any | (*other == tag));
            if !any {
                continue;
            }
            let places = line.iter().enumerate().filter(|(_, other)| **other == tag);
            let found = places.map(|(place, _)| at * LINE + place).find(|place| same(*place));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Forgets the oldest.
    fn forget(&mut self, gone: usize) {
        if gone == 0 {
            return;
        }
        let tags = self.lines.as_flattened_mut();
        tags.copy_within(gone..self.count, 0);
        tags[self.count - gone..self.count].fill(0);
        self.count -= gone;
        self.lines.truncate(self.count.div_ceil(LINE));
    }
}

/// A quick hash. Nobody gains by making two fields meet: they are compared, and the table is small.
fn mix(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
    }
    // The last octets, some of them twice if that makes a whole word.
    let last = if let Some(word) = bytes.last_chunk::<8>() {
        u64::from_le_bytes(*word)
    } else if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
    } else {
        rest.iter().fold(0, |last, octet| last << 8 | u64::from(*octet))
    };
    (hash ^ last).wrapping_mul(FACTOR)
}

fn tag(hash: u64) -> u16 {
    let [.., a, b] = hash.to_le_bytes();
    u16::from_le_bytes([a, b]) | 1
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
