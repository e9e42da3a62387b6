//! One buffer a thread for ciphertext on its way from or to a socket, so that no connection needs its own.

use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};

use super::RECORD;

/// The thread's buffer of [`LEN`] bytes, taken until this is dropped. Its content is whatever the last user left.
///
/// Taken and not borrowed: what carries the ciphertext may be a TLS stream itself, and then makes its own.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) fn take() -> Self {
        let mut buffer = SPARE.try_with(Cell::take).unwrap_or_default();
        if buffer.is_empty() {
            buffer = vec![0; LEN];
        }
        Self(buffer)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = mem::take(&mut self.0);
        // A thread that ends has no use for it.
        let _ = SPARE.try_with(|spare| spare.set(buffer));
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Room for the records of one write, or of one read, and for one record of plaintext.
pub(super) const LEN: usize = 10 * (RECORD + 256);
