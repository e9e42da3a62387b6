//! What is captured and what is not: the settings, and the two chains of rules they become.
//!
//! Pure data. `text` shows it in nft's own syntax, `encode` in netlink's.

use super::error::CaptureError;
use super::filter::{Cidr, Mark, PortRange};

/// Everything the rules depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where connections that the workload opens are redirected to.
    pub outbound_port: u16,
    /// Where connections that the workload receives are redirected to.
    pub inbound_port: u16,
    /// How the proxy's own connections are told from the workload's; not empty.
    pub exempt: Vec<Exempt>,
    /// Destination ports that are never captured on the way out.
    pub skip_outbound_ports: Vec<PortRange>,
    /// Destination ports that are never captured on the way in.
    pub skip_inbound_ports: Vec<PortRange>,
    /// Destinations that are never captured on the way out.
    pub skip_outbound_cidrs: Vec<Cidr>,
    /// Sources that are never captured on the way in.
    pub skip_inbound_cidrs: Vec<Cidr>,
}

/// What marks a connection as the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exempt {
    /// The user id that the proxy runs under.
    Uid(u32),
    /// The mark that the proxy sets on its sockets, where everything runs under one user id.
    Mark(Mark),
}

/// The two chains, in the order the kernel walks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Rules for connections that processes of this namespace open.
    pub output: Vec<Rule>,
    /// Rules for connections that arrive from outside.
    pub prerouting: Vec<Rule>,
}

/// One rule: when all of `matches` hold, count and do `verdict`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Shown by `nft list ruleset` and by our status, for whoever is on call.
    pub comment: String,
    /// All of them have to hold.
    pub matches: Vec<Match>,
    /// What then happens.
    pub verdict: Verdict,
}

/// One condition on the first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The socket belongs to this user.
    SocketUid(u32),
    /// The packet carries this mark.
    Mark(Mark),
    /// The packet leaves by the loopback device: it goes to this namespace itself.
    LeavesByLoopback,
    /// The packet came by the loopback device.
    ArrivesByLoopback,
    /// The destination address is in the block.
    Destination(Cidr),
    /// The source address is in the block.
    Source(Cidr),
    /// TCP to a port of the range.
    TcpDestination(PortRange),
    /// The destination is an address of this namespace: traffic only forwarded by it is nobody's inbound.
    ToThisHost,
    /// The packet opens a TCP connection. A connection older than the rules would otherwise be torn in the middle:
    /// conntrack takes its next packet for the first one.
    OpensTcp,
}

/// What a rule does with a connection that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leaves the connection alone.
    Return,
    /// Sends it to this port of this namespace.
    Redirect(u16),
}

/// The place in the kernel's packet path where a chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets that this namespace sends.
    Output,
    /// Packets that this namespace receives.
    Prerouting,
}

impl Hook {
    /// The hook's and its chain's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Prerouting => "prerouting",
        }
    }
}

impl Ruleset {
    /// Writes the rules that `settings` ask for.
    ///
    /// # Errors
    /// When the settings would capture the proxy itself or nothing at all.
    pub fn new(settings: &Settings) -> Result<Self, CaptureError> {
        let refuse = |setting, problem: &str| Err(CaptureError::Settings { setting, problem: problem.into() });
        if settings.outbound_port == settings.inbound_port {
            return refuse("--inbound-port", "is the same as --outbound-port; the proxy tells the directions by port");
        }
        if settings.exempt.is_empty() {
            return refuse("--proxy-uid", "nothing tells the proxy's own traffic: give --proxy-uid or --proxy-mark");
        }
        if settings.exempt.contains(&Exempt::Uid(0)) {
            return refuse(
                "--proxy-uid",
                "0 would exempt everything that runs as root; run the proxy under a user of its own, or give \
                 --proxy-mark instead",
            );
        }
        Ok(Self { output: output(settings), prerouting: prerouting(settings) })
    }

    /// Both chains with their hooks, in the order they are installed.
    pub fn chains(&self) -> [(Hook, &[Rule]); 2] {
        [(Hook::Output, &self.output), (Hook::Prerouting, &self.prerouting)]
    }
}

fn output(settings: &Settings) -> Vec<Rule> {
    let mut rules: Vec<Rule> = settings
        .exempt
        .iter()
        .map(|exempt| match exempt {
            Exempt::Uid(uid) => Rule::skip("the proxy itself", Match::SocketUid(*uid)),
            Exempt::Mark(mark) => Rule::skip("the proxy itself", Match::Mark(*mark)),
        })
        .collect();
    rules.push(Rule::skip("to this workload itself", Match::LeavesByLoopback));
    for loopback in LOOPBACK {
        let block = loopback.parse().expect("a constant block");
        rules.push(Rule::skip("loopback", Match::Destination(block)));
    }
    rules.extend(
        settings.skip_outbound_cidrs.iter().map(|cidr| Rule::skip("skipped address", Match::Destination(*cidr))),
    );
    rules.extend(
        settings.skip_outbound_ports.iter().map(|ports| Rule::skip("skipped port", Match::TcpDestination(*ports))),
    );
    rules.push(Rule {
        comment: "captured outbound".into(),
        matches: vec![Match::OpensTcp],
        verdict: Verdict::Redirect(settings.outbound_port),
    });
    rules
}

fn prerouting(settings: &Settings) -> Vec<Rule> {
    let mut rules = vec![Rule::skip("from this workload itself", Match::ArrivesByLoopback)];
    rules.extend(settings.skip_inbound_cidrs.iter().map(|cidr| Rule::skip("skipped address", Match::Source(*cidr))));
    // A direct dial of the proxy's own port meets the proxy unchanged, which sees that nothing was redirected.
    for port in [settings.inbound_port, settings.outbound_port] {
        rules.push(Rule::skip("the proxy's own port", Match::TcpDestination(port.into())));
    }
    rules.extend(
        settings.skip_inbound_ports.iter().map(|ports| Rule::skip("skipped port", Match::TcpDestination(*ports))),
    );
    rules.push(Rule {
        comment: "captured inbound".into(),
        matches: vec![Match::ToThisHost, Match::OpensTcp],
        verdict: Verdict::Redirect(settings.inbound_port),
    });
    rules
}

impl Rule {
    fn skip(comment: &str, matches: Match) -> Self {
        Self { comment: comment.into(), matches: vec![matches], verdict: Verdict::Return }
    }
}

/// Loopback blocks, returned even if policy routing sends them through another device than `lo`.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn lets_the_proxy_go_before_anything_is_captured() {
        let rules = Ruleset::new(&settings()).unwrap();
        assert_eq!(rules.output[0].matches, [Match::SocketUid(4140)]);
        assert_eq!(rules.output[0].verdict, Verdict::Return);
        assert_eq!(rules.output.last().unwrap().verdict, Verdict::Redirect(4140));
        assert_eq!(rules.prerouting.last().unwrap().verdict, Verdict::Redirect(4143));
    }

    #[test]
    fn refuses_settings_that_capture_the_proxy_or_nothing() {
        let cases = [
            Settings { inbound_port: 4140, ..settings() },
            Settings { exempt: Vec::new(), ..settings() },
            Settings { exempt: vec![Exempt::Uid(0)], ..settings() },
        ];
        for case in cases {
            assert!(matches!(Ruleset::new(&case), Err(CaptureError::Settings { .. })), "{case:?}");
        }
    }
}
