//! Bytes that wait for their turn, in a buffer that is given back with the last of them.

use tokio::io::ReadBuf;

/// Bytes to be taken from the front. Empty means that no memory is held.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// How many of `bytes` have been taken. Less than `bytes.len()`, unless that is 0.
    taken: usize,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes as they are stored, to append to.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes `count` bytes off the front; the last give the memory back.
    pub(super) fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Moves as much as there is room for.
    pub(super) fn pour(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.as_slice().len().min(buf.remaining());
        buf.put_slice(&self.as_slice()[..count]);
        self.advance(count);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}
