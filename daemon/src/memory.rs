//! Memory that the allocator keeps although nobody uses it. glibc returns by itself only what lies above everything in
//! use, so that what a burst of connections took would stay for ever.

use std::time::Duration;

use crate::Drain;

/// How often one looks.
const LOOK: Duration = Duration::from_secs(3);

/// What may lie idle before it is given back, bytes: less is soon used again.
const SLACK: i64 = 1024 * 1024;

/// The same, as a part of all that the process has: giving back costs time by how much there is.
const SLACK_PART: i64 = 16;

/// Gives memory back to the system whenever much of it has become free, until the drain starts. It takes some milliseconds
/// for each 100 MiB, while threads that allocate wait.
pub async fn give_back_memory(drain: Drain) {
    let mut idle = Idle::default();
    loop {
        let resident_now = resident();
        if idle.is_much(resident_now - in_use(), SLACK.max(resident_now / SLACK_PART)) {
            trim();
            idle.given_back(resident() - in_use());
        }
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Knows when there is something to give back, by what is resident beyond what is in use. That is never nothing (code,
/// stacks), and less than nothing where much was asked for and never written: so it is held against the least seen.
#[derive(Debug, Default)]
struct Idle {
    /// Since memory was last given back, bytes.
    least: Option<i64>,
}

impl Idle {
    fn is_much(&mut self, beyond_use: i64, slack: i64) -> bool {
        let least = self.least.map_or(beyond_use, |least| least.min(beyond_use));
        self.least = Some(least);
        beyond_use > least + slack
    }

    fn given_back(&mut self, beyond_use: i64) {
        self.least = Some(beyond_use);
    }
}

/// Returns what the process has of the machine's memory, bytes; 0 when that cannot be known.
fn resident() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok());
    pages.unwrap_or_default() * page_size()
}

/// Returns what the process has of the machine's memory that no file holds as well, bytes; 0 when that cannot be known.
#[must_use]
pub fn anonymous() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut fields = statm.split(' ').skip(1).map(|pages| pages.parse::<i64>().unwrap_or_default());
    let (resident, shared) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    u64::try_from((resident - shared) * page_size()).unwrap_or_default()
}

#[expect(unsafe_code, reason = "a function of the C library")]
fn page_size() -> i64 {
    // SAFETY: sysconf only reads what it is asked for.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }
}

/// Returns how much of the allocator's memory is in use, bytes.
#[expect(unsafe_code, reason = "a function of the C library")]
fn in_use() -> i64 {
    // SAFETY: mallinfo2 asks nothing of its caller and takes the allocator's locks itself; that its figures may be of
    // slightly different moments (mallinfo(3): MT-Unsafe init const:mallopt) is of no matter, as nobody calls mallopt.
    #[cfg(target_env = "gnu")]
    let memory = unsafe { libc::mallinfo2() };
    #[cfg(target_env = "gnu")]
    return i64::try_from(memory.uordblks.saturating_add(memory.hblkhd)).unwrap_or(i64::MAX);
    #[cfg(not(target_env = "gnu"))]
    0
}

/// Gives the allocator's free memory back to the system; see [`give_back_memory`] for what it costs.
#[expect(unsafe_code, reason = "a function of the C library")]
pub fn trim() {
    // SAFETY: malloc_trim asks nothing of its caller: it may be called at any time by any thread (malloc_trim(3): MT-Safe),
    // and touches only memory that is not allocated.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1024 * 1024;

    #[test]
    fn memory_is_given_back_once_it_is_free_and_not_again_before_there_is_more() {
        let mut idle = Idle::default();
        let mut look = |beyond_use: i64| idle.is_much(beyond_use * MIB, 4 * MIB);

        assert!(!look(6), "code and stacks");
        assert!(!look(-20), "much is in use that was never written");
        assert!(!look(-16), "no more than the slack");
        assert!(look(-15), "beyond the least there was");
        idle.given_back(2 * MIB);
        let mut look = |beyond_use: i64| idle.is_much(beyond_use * MIB, 4 * MIB);
        assert!(!look(6), "no more than the slack");
        assert!(look(7), "more has become free since");
    }

    #[cfg(target_env = "gnu")]
    #[tokio::test(start_paused = true)]
    async fn what_bursts_leave_behind_is_given_back_each_time() {
        let drain = Drain::new();
        let task = tokio::spawn(give_back_memory(drain.clone()));
        tokio::time::sleep(LOOK).await;
        let before = resident();
        // 128 MiB in small pieces; what is freed first lies below something in use.
        let mut blocks: Vec<Vec<u8>> = (0..32 * 1024).map(|n| vec![n as u8; 4096]).collect();
        assert!(resident() > before + 100 * MIB, "{before} {}", resident());

        for (keep_each, at_most) in [(4, 90), (4, 40)] {
            let mut number = 0;
            blocks.retain(|_| {
                number += 1;
                number % keep_each == 0
            });
            tokio::time::sleep(LOOK * 2).await;
            assert!(resident() < before + at_most * MIB, "of {keep_each} one: {before} {}", resident());
        }
        drop(blocks);
        drain.start();
        task.await.unwrap();
    }
}
