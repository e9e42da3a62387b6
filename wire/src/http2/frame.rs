//! The frames' layout (RFC 9113 §4.1 and §6): heads as they are read, and the short frames as they are written.

use super::error::Reason;

/// The nine octets before each payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) id: u32,
}

impl Head {
    /// `None` if `input` does not hold a whole head.
    pub(super) fn parse(input: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, i, j, k, l] = *input.first_chunk::<HEAD>()?;
        // The top bit of the id is reserved, and to be ignored.
        let id = u32::from_be_bytes([i, j, k, l]) & MAX_ID;
        Some(Self { length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c), kind, flags, id })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The four octets of a RST_STREAM, WINDOW_UPDATE, or the beginning of a longer payload.
pub(super) fn word(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|word| u32::from_be_bytes(*word))
}

pub(super) fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) {
    let [.., a, b, c] = length.to_be_bytes();
    let [i, j, k, l] = id.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, i, j, k, l]);
}

pub(super) fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    head(out, settings.len() * SETTING, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, SETTINGS, ACK, 0);
}

pub(super) fn ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    head(out, payload.len(), PING, flags, 0);
    out.extend_from_slice(&payload);
}

pub(super) fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason, debug: &[u8]) {
    head(out, 8 + debug.len(), GO_AWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
    out.extend_from_slice(debug);
}

pub(super) fn reset(out: &mut Vec<u8>, id: u32, reason: Reason) {
    head(out, 4, RST_STREAM, 0, id);
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub(super) fn window_update(out: &mut Vec<u8>, id: u32, more: u32) {
    head(out, 4, WINDOW_UPDATE, 0, id);
    out.extend_from_slice(&more.to_be_bytes());
}

/// The length of a head.
pub(super) const HEAD: usize = 9;
/// The largest payload: what RFC 9113 §6.5.2 begins with, which we never raise.
pub(super) const MAX_PAYLOAD: usize = 16_384;
pub(super) const MAX_ID: u32 = (1 << 31) - 1;
pub(super) const MAX_WINDOW: i64 = (1 << 31) - 1;
/// What every window begins with (RFC 9113 §6.9.2).
pub(super) const FIRST_WINDOW: i64 = 65_535;
/// The length of one setting.
pub(super) const SETTING: usize = 6;
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GO_AWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;
/// Of our own, see `beside`.
pub(super) const CLIENT_ENDED: u8 = 0xe5;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
pub(super) const ENABLE_PUSH: u16 = 0x2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
