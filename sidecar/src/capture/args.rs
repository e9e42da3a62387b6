//! The command line of `outrigger-sidecar init`.

use std::fmt;

use super::error::CaptureError;
use super::filter::{Cidr, List, Mark, PortRange};
use super::rules::{Exempt, Ruleset, Settings};

/// Installs the rules that hand this network namespace's TCP connections to the proxy, or removes them.
///
/// Needs CAP_NET_ADMIN in the namespace. Running it twice leaves the same rules. Installing never touches connections
/// that are already open.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// Port of the proxy that takes connections which the workload opens.
    #[arg(long, env = "OUTRIGGER_OUTBOUND_PORT", value_name = "PORT", default_value_t = 4140)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    outbound_port: u16,

    /// Port of the proxy that takes connections which the workload receives.
    #[arg(long, env = "OUTRIGGER_INBOUND_PORT", value_name = "PORT", default_value_t = 4143)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    inbound_port: u16,

    /// User id that the proxy runs under, whose connections are not captured [default: 4140, unless a mark is given].
    #[arg(long, env = "OUTRIGGER_PROXY_UID", value_name = "UID")]
    proxy_uid: Option<u32>,

    /// Mark (SO_MARK) that the proxy sets on its sockets, where a user namespace has only one user id, e.g. 0x4f52.
    #[arg(long, env = "OUTRIGGER_PROXY_MARK", value_name = "MARK")]
    proxy_mark: Option<Mark>,

    /// Destination ports that are not captured on the way out, e.g. 25,8000-8100.
    #[arg(long, env = "OUTRIGGER_SKIP_OUTBOUND_PORTS", value_name = "PORTS")]
    #[arg(default_value = "", hide_default_value = true)]
    skip_outbound_ports: List<PortRange>,

    /// Ports of the workload that are not captured on the way in.
    #[arg(long, env = "OUTRIGGER_SKIP_INBOUND_PORTS", value_name = "PORTS")]
    #[arg(default_value = "", hide_default_value = true)]
    skip_inbound_ports: List<PortRange>,

    /// Destinations that are not captured on the way out, e.g. 192.0.2.0/24,2001:db8::/32.
    #[arg(long, env = "OUTRIGGER_SKIP_OUTBOUND_CIDRS", value_name = "CIDRS")]
    #[arg(default_value = "", hide_default_value = true)]
    skip_outbound_cidrs: List<Cidr>,

    /// Sources that are not captured on the way in.
    #[arg(long, env = "OUTRIGGER_SKIP_INBOUND_CIDRS", value_name = "CIDRS")]
    #[arg(default_value = "", hide_default_value = true)]
    skip_inbound_cidrs: List<Cidr>,

    /// Print the rules in nft syntax and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Remove the rules instead, which cuts captured connections; no error when there are none.
    #[arg(long)]
    remove: bool,
}

impl InitArgs {
    /// Does what was asked. The outcome's text is for stdout.
    ///
    /// # Errors
    /// When the settings contradict themselves or the kernel refuses.
    pub fn run(&self) -> Result<Outcome, CaptureError> {
        let ruleset = Ruleset::new(&self.settings())?;
        match (self.remove, self.dry_run) {
            (true, true) => return Ok(Outcome::Planned(REMOVAL.into())),
            (true, false) => super::remove()?,
            (false, true) => return Ok(Outcome::Planned(ruleset.to_string())),
            (false, false) => super::install(&ruleset)?,
        }
        if self.remove {
            tracing::info!("capture rules removed");
        } else {
            tracing::info!(outbound_port = self.outbound_port, inbound_port = self.inbound_port, "capture installed");
        }
        Ok(Outcome::Done)
    }

    /// The settings that the flags and variables amount to.
    pub fn settings(&self) -> Settings {
        // One uid by default; a mark alone means that user ids tell nothing here.
        let uid = self.proxy_uid.or_else(|| self.proxy_mark.is_none().then_some(DEFAULT_PROXY_UID));
        Settings {
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            exempt: uid.map(Exempt::Uid).into_iter().chain(self.proxy_mark.map(Exempt::Mark)).collect(),
            skip_outbound_ports: self.skip_outbound_ports.iter().copied().collect(),
            skip_inbound_ports: self.skip_inbound_ports.iter().copied().collect(),
            skip_outbound_cidrs: self.skip_outbound_cidrs.iter().copied().collect(),
            skip_inbound_cidrs: self.skip_inbound_cidrs.iter().copied().collect(),
        }
    }
}

/// What `init` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was changed; the text is what `nft -f` would take.
    Planned(String),
    /// The kernel holds what was asked.
    Done,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Planned(rules) => f.write_str(rules),
            Self::Done => Ok(()),
        }
    }
}

/// The user that images create for the proxy.
const DEFAULT_PROXY_UID: u32 = 4140;

/// `add` first, so that `delete` cannot fail.
const REMOVAL: &str = "add table inet outrigger\ndelete table inet outrigger\n";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        init: InitArgs,
    }

    fn settings(flags: &[&str]) -> Settings {
        parse(flags).expect("valid flags").settings()
    }

    fn parse(flags: &[&str]) -> Result<InitArgs, clap::Error> {
        Command::try_parse_from([&["init"], flags].concat()).map(|command| command.init)
    }

    #[test]
    fn exempts_the_proxy_user_unless_a_mark_says_that_users_tell_nothing() {
        let mark = Exempt::Mark("0x4f52".parse().unwrap());
        assert_eq!(settings(&[]).exempt, [Exempt::Uid(4140)]);
        assert_eq!(settings(&["--proxy-uid=7"]).exempt, [Exempt::Uid(7)]);
        assert_eq!(settings(&["--proxy-mark=0x4f52"]).exempt, [mark]);
        assert_eq!(settings(&["--proxy-mark=0x4f52", "--proxy-uid=7"]).exempt, [Exempt::Uid(7), mark]);
    }

    #[test]
    fn reads_every_skip_list() {
        let read = settings(&[
            "--skip-outbound-ports=25,8000-8100",
            "--skip-inbound-ports=22",
            "--skip-outbound-cidrs=10.0.0.0/8,fd00::/8",
            "--skip-inbound-cidrs=192.0.2.1",
        ]);
        assert_eq!(read.skip_outbound_ports.len(), 2);
        assert_eq!(read.skip_inbound_ports, [PortRange::from(22)]);
        assert_eq!(read.skip_outbound_cidrs.len(), 2);
        assert_eq!(read.skip_inbound_cidrs, ["192.0.2.1/32".parse().unwrap()]);
    }

    #[test]
    fn names_the_flag_and_what_would_be_right() {
        let error = parse(&["--skip-outbound-ports=25,http"]).expect_err("not a port").to_string();
        assert!(error.contains("--skip-outbound-ports") && error.contains("`http` is not a port"), "{error}");
        assert!(parse(&["--inbound-port=0"]).is_err());
    }

    #[test]
    fn a_dry_run_needs_no_privilege_and_prints_what_it_would_do() {
        let planned = |flags: &[&str]| parse(flags).unwrap().run().expect("a dry run").to_string();
        assert!(planned(&["--dry-run"]).contains("redirect to :4143"));
        assert_eq!(planned(&["--dry-run", "--remove"]), REMOVAL);
    }
}
