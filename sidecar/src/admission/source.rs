//! Where a connection comes from, as far as one party can choose it: an IPv4 address, or a network of IPv6.

use std::net::IpAddr;

/// One source of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source(u128);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            // Whoever has one address of a /64 has all of them (RFC 4291 section 2.5.1).
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_an_address_of_ipv4_and_a_network_of_ipv6() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("fd77::1"), of("fd77::ffff:0:0:2"));
        assert_ne!(of("fd77::1"), of("fd77:0:0:1::1"));
    }
}
