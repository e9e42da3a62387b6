//! Streams that this side ended before the peer had. What the peer sent before it knew is no offence (RFC 9113 §5.1): it is counted by its
//! octets, which the windows bound, and passed over. What comes for a stream that the peer itself had ended is not meant here.

/// Remembers the streams ended early among the latest, a bit for each.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// `None` until a stream is ended early: most connections never have one.
    bits: Option<Box<[u64; WORDS]>>,
    /// The youngest stream that was opened.
    youngest: u32,
    /// How much may still be on its way for all of them.
    octets: i64,
    /// One was ended since `rest` last looked.
    recent: bool,
}

impl Late {
    /// Stream `id` is opened, the youngest: its place is no older one's any more.
    pub(super) fn opened(&mut self, id: u32) {
        if let Some(bits) = &mut self.bits {
            let new = (id / 2).saturating_sub(self.youngest / 2).min(STREAMS);
            for number in 0..new {
                let (word, mask) = place((id / 2).wrapping_sub(number));
                bits[word] &= !mask;
            }
        }
        self.youngest = id;
    }

    /// This side ended stream `id` while the peer could still send, `window` at most.
    pub(super) fn cut(&mut self, id: u32, window: i64) {
        let (word, mask) = place(id / 2);
        self.bits.get_or_insert_with(|| Box::new([0; WORDS]))[word] |= mask;
        self.octets = self.octets.saturating_add(window.max(0));
        self.recent = true;
    }

    pub(super) fn holds(&self, id: u32) -> bool {
        let (word, mask) = place(id / 2);
        let known = (self.youngest / 2).checked_sub(id / 2).is_some_and(|age| age < STREAMS);
        known && self.bits.as_ref().is_some_and(|bits| bits[word] & mask != 0)
    }

    /// So much came; `false` if it is more than can have been on its way.
    pub(super) fn allows(&mut self, octets: usize) -> bool {
        self.octets = self.octets.saturating_sub(i64::try_from(octets).unwrap_or(i64::MAX));
        if self.octets < 0 {
            self.octets = 0;
            return false;
        }
        true
    }

    /// The peer ended the stream too: whatever comes from now on is an offence. Returns whether the stream was remembered.
    pub(super) fn ended(&mut self, id: u32) -> bool {
        let held = self.holds(id);
        if let Some(bits) = self.bits.as_mut().filter(|_| held) {
            let (word, mask) = place(id / 2);
            bits[word] &= !mask;
        }
        held
    }

    /// Forgets what was ended long ago; called once in an interval.
    pub(super) fn rest(&mut self) {
        if !std::mem::take(&mut self.recent) {
            self.bits = None;
            self.octets = 0;
        }
    }
}

fn place(number: u32) -> (usize, u64) {
    let number = number % STREAMS;
    ((number / 64) as usize, 1 << (number % 64))
}

/// How many of the latest streams are remembered: many times what can be open at once, for a stream that is fast may see thousands end while a
/// slow one's data is on its way.
const STREAMS: u32 = 16_384;
const WORDS: usize = STREAMS as usize / 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_remembered_until_the_peer_ends_it() {
        let mut late = Late::default();
        for id in (1..400).step_by(2) {
            late.opened(id);
        }
        for id in (1..400).step_by(4) {
            late.cut(id, 10);
        }
        assert!((1..400).step_by(2).all(|id| late.holds(id) == (id % 4 == 1)));
        assert!(late.ended(5) && !late.ended(5));
        assert!(!late.holds(5) && late.holds(9));
    }

    #[test]
    fn no_stream_is_taken_for_an_older_one_in_its_place() {
        let mut late = Late::default();
        late.opened(1);
        late.cut(1, 10);
        for id in [3, 2 * STREAMS - 1, 2 * STREAMS + 1, 2 * STREAMS + 3] {
            late.opened(id);
            assert!(!late.holds(id), "{id}");
            assert_eq!(late.holds(1), id < 2 * STREAMS, "{id}");
        }
        // A leap over all places.
        late.cut(2 * STREAMS + 3, 10);
        late.opened(super::super::frame::MAX_ID);
        assert!(!late.holds(super::super::frame::MAX_ID) && !late.holds(2 * STREAMS + 3));
    }

    #[test]
    fn no_more_octets_are_late_than_the_windows_let_out() {
        let mut late = Late::default();
        late.opened(1);
        late.cut(1, 10);
        late.cut(1, 5);
        assert!(late.allows(10) && late.allows(5) && !late.allows(1));
        assert!(late.allows(0));
    }

    #[test]
    fn what_was_ended_long_ago_is_forgotten() {
        let mut late = Late::default();
        late.opened(1);
        late.cut(1, 10);
        late.rest();
        assert!(late.holds(1));
        late.rest();
        assert!(!late.holds(1) && late.bits.is_none());
    }
}
