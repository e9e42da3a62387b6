//! Who answers when a captured workload dials, and when it is dialled.

use std::io::Write;

use super::super::{CaptureError, Exempt, Match, Ruleset, Settings, install, remove, status};
use super::rig::{
    self, FAR, FAR_V6, PEER, PEER_V6, Rig, WORKLOAD, WORKLOAD_V6, dial, dial_as, dial_marked, ip, line, nft_list,
    nft_load, open,
};
use super::{every_kind_of_rule, settings};

macro_rules! netns_test {
    ($(fn $name:ident($rig:ident: &Rig) $body:block)*) => {$(
        #[test]
        fn $name() {
            rig::run(concat!(module_path!(), "::", stringify!($name)), |$rig: &Rig| $body);
        }
    )*};
}

fn capture(settings: &Settings) {
    install(&Ruleset::new(settings).unwrap()).unwrap();
}

netns_test! {
    fn redirects_outbound_with_its_original_destination_in_both_families(_rig: &Rig) {
        assert_eq!(dial(format!("{PEER}:80")), "peer", "before capture");
        capture(&settings());
        for host in [PEER, FAR, &format!("[{PEER_V6}]"), &format!("[{FAR_V6}]")] {
            assert_eq!(dial(format!("{host}:5432")), format!("outbound {host}:5432"));
        }
        // Nobody is there at all: the proxy gets it all the same, and will say why it failed.
        assert_eq!(dial("198.51.100.1:9"), "outbound 198.51.100.1:9");
    }

    fn redirects_inbound_with_its_original_destination_in_both_families(rig: &Rig) {
        capture(&settings());
        for address in [format!("{WORKLOAD}:80"), format!("[{WORKLOAD_V6}]:80"), format!("{WORKLOAD}:9999")] {
            let dialled = address.clone();
            assert_eq!(rig.in_peer(|| dial(dialled)), format!("inbound {address}"));
        }
    }

    fn lets_the_proxy_user_through(rig: &Rig) {
        if !rig.has_users {
            return; // one user id only: the mark's test is what counts there
        }
        capture(&settings());
        assert_eq!(dial_as(4140, PEER, 80), "peer");
        assert_eq!(dial_as(4140, PEER_V6, 80), "peer");
        assert_eq!(dial_as(4141, PEER, 80), format!("outbound {PEER}:80"));
    }

    fn lets_marked_sockets_through_where_there_is_one_user(_rig: &Rig) {
        capture(&Settings { exempt: vec![Exempt::Mark("0x4f52".parse().unwrap())], ..settings() });
        assert_eq!(dial_marked(&format!("{PEER}:80"), 0x4f52), "peer");
        assert_eq!(dial_marked(&format!("[{PEER_V6}]:80"), 0x4f52), "peer");
        assert_eq!(dial_marked(&format!("{PEER}:80"), 0x4f53), format!("outbound {PEER}:80"));
        assert_eq!(dial(format!("{PEER}:80")), format!("outbound {PEER}:80"));
    }

    fn honours_skipped_ports_in_both_directions(rig: &Rig) {
        capture(&Settings {
            skip_outbound_ports: vec!["25".parse().unwrap(), "8000-8100".parse().unwrap()],
            skip_inbound_ports: vec!["22".parse().unwrap()],
            ..settings()
        });
        assert_eq!(dial(format!("{PEER}:25")), "peer");
        assert_eq!(dial(format!("[{PEER_V6}]:8050")), "peer");
        assert_eq!(dial(format!("{PEER}:80")), format!("outbound {PEER}:80"));
        for port in [7999, 8000, 8100, 8101] {
            let captured = dial(format!("{PEER}:{port}")) == format!("outbound {PEER}:{port}");
            assert_eq!(captured, !(8000..=8100).contains(&port), "{port}");
        }
        assert_eq!(rig.in_peer(|| dial(format!("{WORKLOAD}:22"))), "app");
        assert_eq!(rig.in_peer(|| dial(format!("[{WORKLOAD_V6}]:22"))), "app");
        assert_eq!(rig.in_peer(|| dial(format!("{WORKLOAD}:80"))), format!("inbound {WORKLOAD}:80"));
    }

    fn honours_skipped_addresses_in_both_directions(rig: &Rig) {
        capture(&Settings {
            skip_outbound_cidrs: vec!["192.0.2.0/25".parse().unwrap(), "2001:db8::/33".parse().unwrap()],
            skip_inbound_cidrs: vec![format!("{PEER}/32").parse().unwrap()],
            ..settings()
        });
        assert_eq!(dial(format!("{FAR}:80")), "peer");
        assert_eq!(dial(format!("[{FAR_V6}]:80")), "peer");
        assert_eq!(dial(format!("{PEER}:80")), format!("outbound {PEER}:80"));
        assert_eq!(dial("192.0.2.129:80"), "outbound 192.0.2.129:80");
        assert_eq!(dial("[2001:db8:8000::1]:80"), "outbound [2001:db8:8000::1]:80");
        assert_eq!(rig.in_peer(|| dial(format!("{WORKLOAD}:80"))), "app");
        assert_eq!(rig.in_peer(|| dial(format!("[{WORKLOAD_V6}]:80"))), format!("inbound [{WORKLOAD_V6}]:80"));
    }

    fn skips_a_whole_family_when_asked(_rig: &Rig) {
        capture(&Settings { skip_outbound_cidrs: vec!["::/0".parse().unwrap()], ..settings() });
        assert_eq!(dial(format!("[{PEER_V6}]:80")), "peer");
        assert_eq!(dial(format!("{PEER}:80")), format!("outbound {PEER}:80"));
    }

    fn leaves_what_a_workload_does_with_itself_alone(_rig: &Rig) {
        capture(&settings());
        for host in ["127.0.0.1", "127.9.9.9", "[::1]", WORKLOAD, "[fd77::2]"] {
            assert_eq!(dial(format!("{host}:80")), "app", "{host}");
        }
        // Its own Service has an address that is not its own: captured like any other.
        assert_eq!(dial("10.96.0.1:80"), "outbound 10.96.0.1:80");
    }

    fn recognises_a_direct_dial_of_the_proxy(rig: &Rig) {
        ip("addr add 10.77.0.3/24 dev eth0");
        capture(&settings());
        for host in [WORKLOAD, "[fd77::2]", "10.77.0.3"] {
            let address = format!("{host}:4143");
            assert_eq!(dial(&address), format!("inbound not redirected {address}"), "from itself");
            let dialled = address.clone();
            assert_eq!(rig.in_peer(|| dial(dialled)), format!("inbound not redirected {address}"), "from outside");
        }
        assert_eq!(dial("127.0.0.1:4140"), "outbound not redirected 127.0.0.1:4140");
        assert_eq!(dial("[::1]:4140"), "outbound not redirected [::1]:4140");
        assert_eq!(rig.in_peer(|| dial(format!("{WORKLOAD}:4140"))), "error: ConnectionRefused");
        // Another workload's port of the same number is a destination like any other.
        assert_eq!(dial(format!("{PEER}:4140")), format!("outbound {PEER}:4140"));
        assert_eq!(dial(format!("{PEER}:4143")), format!("outbound {PEER}:4143"));
    }

    fn leaves_forwarded_traffic_alone(rig: &Rig) {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ip("addr add 10.78.0.1/32 dev lo");
        ip("route add unreachable 10.79.0.0/16");
        rig.in_peer(|| ip(&format!("route add 10.78.0.0/15 via {WORKLOAD}")));
        capture(&settings());
        assert_eq!(rig.in_peer(|| dial("10.78.0.1:80")), "inbound 10.78.0.1:80", "another of its own addresses");
        let answer = rig.in_peer(|| dial("10.79.0.1:80"));
        assert!(answer.contains("Unreachable"), "{answer}");
    }

    fn never_tears_a_connection_that_is_older_than_the_rules(rig: &Rig) {
        let mut out = open(&format!("{PEER}:80"));
        let mut inbound = rig.in_peer(|| open(&format!("{WORKLOAD}:80")));
        assert_eq!(line(&mut out).unwrap(), "peer");
        assert_eq!(line(&mut inbound).unwrap(), "app");
        capture(&settings());
        for (stream, word) in [(&mut out, "out"), (&mut inbound, "in")] {
            for round in ["first", "second"] {
                writeln!(stream, "{word} {round}").unwrap();
                assert_eq!(line(stream).unwrap(), format!("{word} {round}"));
            }
        }
        assert_eq!(dial(format!("{PEER}:80")), format!("outbound {PEER}:80"), "new ones are captured");
        // Nor one that was captured, when the rules are installed again.
        let mut captured = open(&format!("{PEER}:80"));
        assert_eq!(line(&mut captured).unwrap(), format!("outbound {PEER}:80"));
        capture(&settings());
        writeln!(captured, "still").unwrap();
        assert_eq!(line(&mut captured).unwrap(), "still");
        // Removal leaves alone what was never captured.
        remove().unwrap();
        writeln!(out, "still").unwrap();
        assert_eq!(line(&mut out).unwrap(), "still");
    }

    fn installs_twice_to_the_same_rules_and_removes_without_a_trace(_rig: &Rig) {
        let before = nft_list();
        remove().expect("nothing to remove is no error");
        capture(&settings());
        let once = (nft_list(), status().unwrap());
        capture(&settings());
        assert_eq!((nft_list(), status().unwrap()), once);
        capture(&Settings { outbound_port: 15001, ..settings() });
        assert!(status().unwrap().is_some_and(|status| status.rules.len() == once.1.as_ref().unwrap().rules.len()));
        remove().unwrap();
        assert_eq!((nft_list(), status().unwrap()), (before, None));
        assert_eq!(dial(format!("{PEER}:80")), "peer");
        remove().expect("nothing to remove is no error");
    }

    fn leaves_the_tables_of_others_alone(_rig: &Rig) {
        if nft_list().is_none() {
            return eprintln!("SKIPPED: no nft to make another table with");
        }
        nft_load("table inet other { chain output { type filter hook output priority 0; tcp dport 9 drop; }; }");
        let before = nft_list();
        capture(&settings());
        assert!(nft_list().unwrap().contains("table inet other"));
        assert_eq!(status().unwrap().unwrap().rules.len(), Ruleset::new(&settings()).unwrap().output.len() + 4);
        remove().unwrap();
        assert_eq!(nft_list(), before);
    }

    fn holds_exactly_what_a_dry_run_prints(rig: &Rig) {
        if nft_list().is_none() {
            return eprintln!("SKIPPED: no nft to compare with");
        }
        install(&every_kind_of_rule()).unwrap();
        let ours = nft_list();
        let theirs = rig.in_peer(|| {
            nft_load(&every_kind_of_rule().to_string());
            nft_load(&every_kind_of_rule().to_string());
            nft_list()
        });
        assert_eq!(ours, theirs);
        // And reading back what nft itself encoded needs no privilege of having written it.
        let count = rig.in_peer(|| status().unwrap().unwrap().rules.len());
        assert_eq!(count, status().unwrap().unwrap().rules.len());
    }

    fn counts_the_connections_each_rule_decided_on(_rig: &Rig) {
        capture(&settings());
        let captured = || {
            let status = status().unwrap().unwrap();
            status.rules.into_iter().find(|rule| rule.comment == "captured outbound").unwrap()
        };
        assert_eq!((captured().chain.as_str(), captured().connections), ("output", 0));
        for _ in 0..3 {
            dial(format!("{PEER}:80"));
        }
        assert_eq!(captured().connections, 3);
    }

    fn notices_when_the_kernel_holds_something_else(_rig: &Rig) {
        let ruleset = Ruleset::new(&settings()).unwrap();
        let verify = |ruleset: &Ruleset| {
            super::super::readback::verify(&mut super::super::netlink::Socket::open().unwrap(), ruleset)
        };
        assert!(matches!(verify(&ruleset), Err(CaptureError::NotInForce { .. })), "nothing is there");
        install(&ruleset).unwrap();
        verify(&ruleset).unwrap();
        let mut port = ruleset.clone();
        port.output.last_mut().unwrap().verdict = super::super::Verdict::Redirect(4141);
        let mut user = ruleset.clone();
        user.output[0].matches = vec![Match::SocketUid(4141)];
        let mut shorter = ruleset.clone();
        shorter.prerouting.remove(1);
        let mut swapped = ruleset;
        swapped.output.swap(0, 1);
        for other in [port, user, shorter, swapped] {
            assert!(matches!(verify(&other), Err(CaptureError::NotInForce { .. })), "{other}");
        }
    }
    fn says_which_capability_is_missing(_rig: &Rig) {
        let mut held = rustix::thread::capabilities(None).unwrap();
        held.effective.remove(rustix::thread::CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, held).unwrap();
        let ruleset = Ruleset::new(&settings()).unwrap();
        assert!(matches!(install(&ruleset), Err(CaptureError::NotPermitted)));
        assert!(matches!(remove(), Err(CaptureError::NotPermitted)));
        assert!(matches!(status(), Err(CaptureError::NotPermitted)));
    }
}
