//! The rules in nft's own syntax: what `init --dry-run` prints, ready for `nft -f -`.

use std::fmt;
use std::net::IpAddr;

use super::filter::Cidr;
use super::rules::{Match, Rule, Ruleset, Verdict};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As installed: one transaction that replaces whatever table of ours is there.
        writeln!(f, "add table inet outrigger\ndelete table inet outrigger\ntable inet outrigger {{")?;
        for (hook, rules) in self.chains() {
            writeln!(f, "\tchain {} {{", hook.name())?;
            writeln!(f, "\t\ttype nat hook {} priority -100; policy accept;", hook.name())?;
            for rule in rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        write!(f, "counter {} comment \"{}\"", self.verdict, self.comment)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SocketUid(uid) => write!(f, "meta skuid {uid}"),
            Self::Mark(mark) => write!(f, "meta mark {mark}"),
            Self::LeavesByLoopback => f.write_str("oifname \"lo\""),
            Self::ArrivesByLoopback => f.write_str("iifname \"lo\""),
            Self::Destination(cidr) => address(f, "daddr", *cidr),
            Self::Source(cidr) => address(f, "saddr", *cidr),
            Self::TcpDestination(ports) => write!(f, "tcp dport {ports}"),
            Self::ToThisHost => f.write_str("fib daddr type local"),
            Self::OpensTcp => f.write_str("tcp flags & (fin | syn | rst | ack) == syn"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("return"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
        }
    }
}

fn address(f: &mut fmt::Formatter<'_>, field: &str, cidr: Cidr) -> fmt::Result {
    match (cidr.network(), cidr.prefix()) {
        (IpAddr::V4(_), 0) => f.write_str("meta nfproto ipv4"),
        (IpAddr::V6(_), 0) => f.write_str("meta nfproto ipv6"),
        (network @ IpAddr::V4(_), 32) => write!(f, "ip {field} {network}"),
        (network @ IpAddr::V6(_), 128) => write!(f, "ip6 {field} {network}"),
        (IpAddr::V4(_), _) => write!(f, "ip {field} {cidr}"),
        (IpAddr::V6(_), _) => write!(f, "ip6 {field} {cidr}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::every_kind_of_rule;

    #[test]
    fn prints_every_kind_of_rule_in_nft_syntax() {
        assert_eq!(every_kind_of_rule().to_string(), include_str!("tests/every_kind_of_rule.nft"));
    }
}
