//! Capture proved by sockets, in network namespaces that the tests make themselves.

mod rig;
mod traffic;

use super::rules::{Exempt, Ruleset, Settings};

/// Settings that become at least one rule of every kind.
pub(super) fn every_kind_of_rule() -> Ruleset {
    let settings = Settings {
        exempt: vec![Exempt::Uid(4140), Exempt::Mark("0x4f52".parse().unwrap())],
        skip_outbound_ports: vec!["25".parse().unwrap(), "8000-8100".parse().unwrap()],
        skip_inbound_ports: vec!["22".parse().unwrap()],
        skip_outbound_cidrs: ["192.0.2.0/23", "2001:db8::/29", "198.51.100.7", "fd00::7", "0.0.0.0/0", "::/0"]
            .map(|cidr| cidr.parse().unwrap())
            .to_vec(),
        skip_inbound_cidrs: vec!["203.0.113.0/24".parse().unwrap(), "fd01::/16".parse().unwrap()],
        ..settings()
    };
    Ruleset::new(&settings).unwrap()
}

/// The default settings.
fn settings() -> Settings {
    Settings {
        outbound_port: 4140,
        inbound_port: 4143,
        exempt: vec![Exempt::Uid(4140)],
        skip_outbound_ports: Vec::new(),
        skip_inbound_ports: Vec::new(),
        skip_outbound_cidrs: Vec::new(),
        skip_inbound_cidrs: Vec::new(),
    }
}
