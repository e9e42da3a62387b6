//! The node's network namespace, and the one link between it and the host.
//!
//! The host reaches pods and Services over that link, as a machine beside the node would. Nothing else of the host's network
//! changes, and all of it goes with the namespace.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::process;

/// The namespace, the cgroup and the CNI network of the cluster.
pub(super) const CLUSTER: &str = "outrigger-cluster";
/// The node's name.
pub(super) const NODE: &str = "outrigger";
/// The node's addresses, and the host's on the same link.
pub(super) const NODE_V4: &str = "10.243.0.2";
pub(super) const NODE_V6: &str = "fd00:10:243::2";
pub(super) const HOST_V4: &str = "10.243.0.1";
pub(super) const HOST_V6: &str = "fd00:10:243::1";
/// Pods and Services.
pub(super) const PODS_V4: &str = "10.244.0.0/16";
pub(super) const PODS_V6: &str = "fd00:10:244::/64";
pub(super) const SERVICES_V4: &str = "10.96.0.0/16";
pub(super) const SERVICES_V6: &str = "fd00:10:96::/112";
/// The first Service address is the API server's; the tenth is by custom the DNS server's.
pub(super) const API_V4: &str = "10.96.0.1";
pub(super) const DNS_V4: &str = "10.96.0.10";

/// Makes the namespace and the link, when they are not there.
pub(super) fn make() -> Result<()> {
    if exists() {
        return Ok(());
    }
    ip(&["netns", "add", CLUSTER])?;
    ip(&["link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", CLUSTER])?;
    for (address, family) in [(format!("{HOST_V4}/24"), "-4"), (format!("{HOST_V6}/64"), "-6")] {
        ip(&[&[family, "addr", "add", &address, "dev", LINK], no_wait(family)].concat())?;
    }
    ip(&["link", "set", LINK, "up"])?;
    for (address, family) in [(format!("{NODE_V4}/24"), "-4"), (format!("{NODE_V6}/64"), "-6")] {
        ip(&[&["-n", CLUSTER, family, "addr", "add", &address, "dev", "eth0"], no_wait(family)].concat())?;
    }
    ip(&["-n", CLUSTER, "link", "set", "lo", "up"])?;
    ip(&["-n", CLUSTER, "link", "set", "eth0", "up"])?;
    ip(&["-n", CLUSTER, "route", "add", "default", "via", HOST_V4])?;
    ip(&["-n", CLUSTER, "-6", "route", "add", "default", "via", HOST_V6])?;
    for range in [PODS_V4, SERVICES_V4] {
        ip(&["route", "add", range, "via", NODE_V4])?;
    }
    for range in [PODS_V6, SERVICES_V6] {
        ip(&["-6", "route", "add", range, "via", NODE_V6])?;
    }
    process::quiet(command("sysctl").args(["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]))
}

/// Removes both; the pods' links and all rules go with the namespace.
pub(super) fn remove() -> Result<()> {
    if link_exists() {
        ip(&["link", "delete", LINK])?;
    }
    if exists() {
        ip(&["netns", "delete", CLUSTER])?;
    }
    Ok(())
}

/// What of it is there.
pub(super) fn left() -> Vec<String> {
    let mut left = Vec::new();
    if exists() {
        left.push(format!("the network namespace {CLUSTER}"));
    }
    if link_exists() {
        left.push(format!("the link {LINK}"));
    }
    left
}

/// A program that is to run in the node's network.
pub(super) fn command(program: &str) -> Command {
    let prefix = prefix();
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).arg(program);
    command
}

/// What goes before a command to run it in the node's network, and in no other mount namespace: `ip netns exec` would
/// hide the cgroups.
pub(super) fn prefix() -> [String; 2] {
    ["nsenter".to_owned(), format!("--net=/run/netns/{CLUSTER}")]
}

fn exists() -> bool {
    Path::new("/run/netns").join(CLUSTER).exists()
}

fn link_exists() -> bool {
    Path::new("/sys/class/net").join(LINK).exists()
}

fn ip(args: &[&str]) -> Result<()> {
    process::quiet(Command::new("ip").args(args).env("PATH", process::search_path()?))
}

/// IPv6 addresses are usable at once when nobody looks for duplicates.
fn no_wait(family: &str) -> &'static [&'static str] {
    if family == "-6" { &["nodad"] } else { &[] }
}

/// The host's end; the kernel takes 15 characters.
const LINK: &str = "outrigger0";
