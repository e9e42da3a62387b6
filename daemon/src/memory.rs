//! Memory that is free and still ours, and when there is much of it.

/// Gives the memory back to the system that the allocator keeps although nobody uses it. glibc returns by itself only
/// what lies above everything in use; this takes it some milliseconds for each 100 MiB, while threads that allocate wait.
#[expect(unsafe_code, reason = "a function of the C library")]
pub fn give_back_memory() {
    // SAFETY: malloc_trim asks nothing of its caller: it may be called at any time by any thread (malloc_trim(3): MT-Safe),
    // and touches only memory that is not allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Notices the end of a burst, whose memory can then be given back.
#[derive(Debug, Default)]
pub struct Burst {
    ended: usize,
}

impl Burst {
    /// Takes note of how many connections have ended since the last look (or handshakes: whatever leaves some kilobytes
    /// behind); says whether enough have, and no more are about to.
    pub fn is_over(&mut self, ended: usize) -> bool {
        self.ended += ended;
        let over = self.ended >= ENOUGH && ended < SETTLED;
        if over {
            self.ended = 0;
        }
        over
    }
}

/// Connections that must have ended: fewer leave too little behind.
const ENOUGH: usize = 256;

/// While so many end between two looks, more are about to.
const SETTLED: usize = ENOUGH / 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_once_when_its_connections_have_ended() {
        let mut burst = Burst::default();

        let over = [0, 3000, 4900, 10, 0, 0].map(|ended| burst.is_over(ended));

        assert_eq!(over, [false, false, false, true, false, false]);
    }

    #[test]
    fn a_few_do_not_count_until_they_are_many() {
        let mut burst = Burst::default();

        assert!((0..50).all(|_| !burst.is_over(5)));
        assert!(burst.is_over(6));
    }
}
