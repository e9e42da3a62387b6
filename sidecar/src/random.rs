//! Chance, for what no attacker gains from guessing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A fast draw for balancing and weights; nothing secret hangs on it.
pub(crate) fn random() -> u64 {
    // SplitMix64 over a shared counter: every thread's draw is different, and none waits.
    static STATE: AtomicU64 = AtomicU64::new(0);
    let mut seed = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    if seed == 0 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        seed = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32);
        STATE.fetch_add(seed, Ordering::Relaxed);
    }
    mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// The finalizer of SplitMix64: every bit of the input counts for every bit of the result.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
