//! The static table (RFC 7541 appendix A), and for the decoder the dynamic one (§2.3.2).

use std::collections::VecDeque;
use std::sync::LazyLock;

use super::field::{Field, Name};
use super::{FIELD_OVERHEAD, TABLE_SIZE};

/// The fields a decoder can refer to by their index.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest is at the front, as the index counts.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) field: Field,
    /// With the overhead.
    pub(super) size: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: TABLE_SIZE }
    }

    pub(super) fn entry(&self, index: usize) -> Option<&Entry> {
        let index = index.checked_sub(1)?;
        STATIC_ENTRIES.get(index).or_else(|| self.entries.get(index - STATIC.len()))
    }

    /// Takes `entry` in; one larger than the table empties it (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, entry: Entry) {
        self.evict(self.limit.saturating_sub(entry.size));
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    /// `false` if the peer asks for more than it was allowed.
    pub(super) fn resize(&mut self, limit: usize) -> bool {
        if limit > TABLE_SIZE {
            return false;
        }
        self.limit = limit;
        self.evict(limit);
        true
    }

    fn evict(&mut self, room: usize) {
        while self.size > room {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size;
        }
    }
}

static STATIC_ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(name, value): &(&str, &str)| Entry {
        size: name.len() + value.len() + FIELD_OVERHEAD,
        field: Field::new(Name::parse(name.as_bytes()), value.as_bytes(), false),
    };
    STATIC.iter().map(entry).collect()
});

/// Names and values; the index is the position, from 1.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
