//! Conditions and verdicts as the small programs that nftables runs on a packet.

use std::net::IpAddr;

use libc::{
    IPPROTO_TCP, NFPROTO_IPV4, NFPROTO_IPV6, NFT_CMP_EQ, NFT_CMP_GTE, NFT_CMP_LTE, NFT_META_IIFNAME, NFT_META_L4PROTO,
    NFT_META_MARK, NFT_META_NFPROTO, NFT_META_OIFNAME, NFT_META_SKUID, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REG_1, NFT_REG_VERDICT, NFT_RETURN,
};

use super::attributes::Attributes;
use super::filter::Cidr;
use super::rules::{Match, Rule, Verdict};
use super::uapi::{
    NFT_FIB_RESULT_ADDRTYPE, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN, NFTA_BITWISE_MASK, NFTA_BITWISE_SREG,
    NFTA_BITWISE_XOR, NFTA_CMP_DATA, NFTA_CMP_OP, NFTA_CMP_SREG, NFTA_DATA_VALUE, NFTA_DATA_VERDICT, NFTA_EXPR_DATA,
    NFTA_EXPR_NAME, NFTA_FIB_DREG, NFTA_FIB_F_DADDR, NFTA_FIB_FLAGS, NFTA_FIB_RESULT, NFTA_IMMEDIATE_DATA,
    NFTA_IMMEDIATE_DREG, NFTA_LIST_ELEM, NFTA_META_DREG, NFTA_META_KEY, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_DREG,
    NFTA_PAYLOAD_LEN, NFTA_PAYLOAD_OFFSET, NFTA_REDIR_REG_PROTO_MIN, NFTA_VERDICT_CODE,
};

/// Writes the whole of `rule` into the list of expressions.
pub(super) fn write(list: &mut Attributes, rule: &Rule) {
    for condition in &rule.matches {
        list.condition(*condition);
    }
    list.expression("counter", |_| {});
    list.verdict(rule.verdict);
}

impl Attributes {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.nest(NFTA_LIST_ELEM, |element| {
            element.text(NFTA_EXPR_NAME, name);
            element.nest(NFTA_EXPR_DATA, fill);
        });
    }

    fn condition(&mut self, condition: Match) {
        match condition {
            Match::SocketUid(uid) => self.meta(NFT_META_SKUID, &uid.to_ne_bytes()),
            Match::Mark(mark) => self.meta(NFT_META_MARK, &mark.value().to_ne_bytes()),
            Match::LeavesByLoopback => self.meta(NFT_META_OIFNAME, &LOOPBACK_DEVICE),
            Match::ArrivesByLoopback => self.meta(NFT_META_IIFNAME, &LOOPBACK_DEVICE),
            Match::Destination(cidr) => self.address(cidr, 16, 24),
            Match::Source(cidr) => self.address(cidr, 12, 8),
            Match::TcpDestination(ports) => {
                self.meta(NFT_META_L4PROTO, &[IPPROTO_TCP as u8]);
                self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                if ports.first() == ports.last() {
                    self.compare(NFT_CMP_EQ, &ports.first().to_be_bytes());
                } else {
                    self.compare(NFT_CMP_GTE, &ports.first().to_be_bytes());
                    self.compare(NFT_CMP_LTE, &ports.last().to_be_bytes());
                }
            }
            Match::ToThisHost => {
                self.expression("fib", |a| {
                    a.number(NFTA_FIB_DREG, NFT_REG_1);
                    a.number(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
                    a.number(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
                });
                self.compare(NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
            }
            Match::OpensTcp => {
                self.meta(NFT_META_L4PROTO, &[IPPROTO_TCP as u8]);
                self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
                self.mask(&[FIN | SYN | RST | ACK]);
                self.compare(NFT_CMP_EQ, &[SYN]);
            }
        }
    }

    /// An address field, at its offset in an IPv4 or an IPv6 header, lies in the block.
    fn address(&mut self, cidr: Cidr, v4_offset: i32, v6_offset: i32) {
        let (family, offset, network) = match cidr.network() {
            IpAddr::V4(v4) => (NFPROTO_IPV4, v4_offset, v4.octets().to_vec()),
            IpAddr::V6(v6) => (NFPROTO_IPV6, v6_offset, v6.octets().to_vec()),
        };
        self.meta(NFT_META_NFPROTO, &[family as u8]);
        let bits = usize::from(cidr.prefix());
        if bits == 0 {
            return;
        }
        self.payload(NFT_PAYLOAD_NETWORK_HEADER, offset, network.len() as i32);
        if bits < network.len() * 8 {
            let mask: Vec<u8> = (0..network.len()).map(|byte| prefix_byte(bits.saturating_sub(byte * 8))).collect();
            self.mask(&mask);
        }
        self.compare(NFT_CMP_EQ, &network);
    }

    fn meta(&mut self, key: i32, value: &[u8]) {
        self.expression("meta", |a| {
            a.number(NFTA_META_DREG, NFT_REG_1);
            a.number(NFTA_META_KEY, key);
        });
        self.compare(NFT_CMP_EQ, value);
    }

    fn payload(&mut self, base: i32, offset: i32, len: i32) {
        self.expression("payload", |a| {
            a.number(NFTA_PAYLOAD_DREG, NFT_REG_1);
            a.number(NFTA_PAYLOAD_BASE, base);
            a.number(NFTA_PAYLOAD_OFFSET, offset);
            a.number(NFTA_PAYLOAD_LEN, len);
        });
    }

    fn mask(&mut self, mask: &[u8]) {
        self.expression("bitwise", |a| {
            a.number(NFTA_BITWISE_SREG, NFT_REG_1);
            a.number(NFTA_BITWISE_DREG, NFT_REG_1);
            a.number(NFTA_BITWISE_LEN, mask.len() as i32);
            a.nest(NFTA_BITWISE_MASK, |a| a.bytes(NFTA_DATA_VALUE, mask));
            a.nest(NFTA_BITWISE_XOR, |a| a.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()]));
        });
    }

    fn compare(&mut self, operator: i32, value: &[u8]) {
        self.expression("cmp", |a| {
            a.number(NFTA_CMP_SREG, NFT_REG_1);
            a.number(NFTA_CMP_OP, operator);
            a.nest(NFTA_CMP_DATA, |a| a.bytes(NFTA_DATA_VALUE, value));
        });
    }

    fn verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Return => self.expression("immediate", |a| {
                a.number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                a.nest(NFTA_IMMEDIATE_DATA, |a| {
                    a.nest(NFTA_DATA_VERDICT, |a| a.number(NFTA_VERDICT_CODE, NFT_RETURN));
                });
            }),
            Verdict::Redirect(port) => {
                self.expression("immediate", |a| {
                    a.number(NFTA_IMMEDIATE_DREG, NFT_REG_1);
                    a.nest(NFTA_IMMEDIATE_DATA, |a| a.bytes(NFTA_DATA_VALUE, &port.to_be_bytes()));
                });
                self.expression("redir", |a| a.number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1));
            }
        }
    }
}

/// One byte of a prefix mask, `bits` of which (or all eight) are set from the left.
fn prefix_byte(bits: usize) -> u8 {
    u8::MAX.checked_shl(8 - bits.min(8) as u32).unwrap_or(0)
}

/// A device name is compared over its whole fixed width (IFNAMSIZ), NULs included.
const LOOPBACK_DEVICE: [u8; 16] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

// Flags in byte 13 of a TCP header (RFC 9293 section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_mask_is_filled_from_the_left() {
        assert_eq!([0, 1, 7, 8, 9].map(prefix_byte), [0, 0x80, 0xfe, 0xff, 0xff]);
    }
}
