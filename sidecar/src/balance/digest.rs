//! Numbers that stand for values, the same in every sidecar.

use std::net::{IpAddr, SocketAddr};

/// What stands for an endpoint in scores: the same in every sidecar.
pub(super) fn seed(address: SocketAddr) -> u64 {
    let port = u64::from(address.port());
    match address.ip() {
        IpAddr::V4(ip) => mix(u64::from(ip.to_bits()) << 16 | port),
        IpAddr::V6(ip) => mix(of_bytes(&ip.octets()) ^ port),
    }
}

/// FNV-1a, mixed: short values, and no secret, for all sidecars must agree.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
}

/// The finalizer of SplitMix64: every bit of the input counts for every bit of the result.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
