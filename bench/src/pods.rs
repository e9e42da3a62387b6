//! Two pods as two network namespaces joined by one cable, and a third for the control plane.
//!
//! ```text
//! pod A (client)  eth0 10.77.0.1 ───── 10.77.0.2 eth0  pod B (server: app on :8080)
//!                 ctl  └───── control, 10.77.1.1 ─────┘ ctl
//! ```
//! Made with `ip`, as root, and not with the sandbox crate: its bridge would stand between the pods, in every figure.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// The address that the service's clients dial; no machine has it.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 9);
/// The same app as a service of a thousand endpoints.
pub(crate) const MANY_ENDPOINTS: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 10);
/// The same app behind a thousand route rules.
pub(crate) const MANY_RULES: Ipv4Addr = Ipv4Addr::new(10, 77, 9, 11);
/// Where the app listens, in pod B.
pub(crate) const APP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// A thousand more addresses of pod B begin here.
pub(crate) const ENDPOINTS: Ipv4Addr = Ipv4Addr::new(10, 77, 16, 0);
/// HTTP/1.
pub(crate) const HTTP: Port = Port { service: 80, app: 8080 };
/// gRPC.
pub(crate) const GRPC: Port = Port { service: 81, app: 8081 };
/// What no proxy knows.
pub(crate) const BYTES: Port = Port { service: 82, app: 8082 };
/// The control plane.
pub(crate) const CONTROL: SocketAddr = address([10, 77, 1, 1], 15010);
/// Whose traffic the capture leaves alone.
pub(crate) const PROXY_UID: u32 = 4140;

const PREFIX: &str = "orbench";

const fn address(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]), port))
}

/// A port of the service, and the one that the app listens on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port {
    pub(crate) service: u16,
    pub(crate) app: u16,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller's pod, on the first CPU.
    A,
    /// The callee's pod, on the second CPU where there are two.
    B,
    /// Beside the pods.
    Control,
}

/// Who a program is in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Root: makes rules.
    Root,
    /// The sidecar: not captured.
    Proxy,
    /// An app.
    App,
}

/// The namespaces of one contender; they go when this is dropped, with all that runs in them.
#[derive(Debug)]
pub(crate) struct Pods {
    name: String,
}

impl Pods {
    /// Makes them.
    pub(crate) async fn make(contender: &str) -> Result<Self> {
        let pods = Self { name: format!("{PREFIX}-{}-{contender}", std::process::id()) };
        for place in [Place::A, Place::B, Place::Control] {
            ip(&format!("netns add {}", pods.namespace(place))).await?;
            ip(&format!("-n {} link set lo up", pods.namespace(place))).await?;
        }
        let (a, b, control) = (Place::A, Place::B, Place::Control);
        pods.cable((a, "eth0", "10.77.0.1/24"), (b, "eth0", "10.77.0.2/24")).await?;
        // A pod has one address, and the control plane takes a token from that address only.
        pods.cable((control, "to-a", "10.77.1.1/32"), (a, "ctl", "10.77.0.1/32")).await?;
        pods.cable((control, "to-b", "10.77.1.1/32"), (b, "ctl", "10.77.0.2/32")).await?;
        pods.route(a, "10.77.1.1 dev ctl src 10.77.0.1").await?;
        pods.route(b, "10.77.1.1 dev ctl src 10.77.0.2").await?;
        pods.route(control, "10.77.0.1 dev to-a").await?;
        pods.route(control, "10.77.0.2 dev to-b").await?;
        // Pod B answers at each of the thousand addresses, without a device for them.
        pods.route(b, &format!("local {ENDPOINTS}/22 dev lo")).await?;
        for place in [a, b] {
            // A side that closes first holds the port for a minute: after five seconds of a connection for each request there would be none, and what is
            // measured would be the kernel's search for one.
            let reuse = "sysctl --quiet --write net.ipv4.tcp_tw_reuse=1";
            ip(&format!("netns exec {} {reuse}", pods.namespace(place))).await?;
        }
        // Dialling the service must get as far as the capture.
        pods.route(a, "default via 10.77.0.2").await?;
        Ok(pods)
    }

    async fn route(&self, place: Place, route: &str) -> Result<()> {
        ip(&format!("-n {} route add {route}", self.namespace(place))).await
    }

    async fn cable(&self, one: (Place, &str, &str), two: (Place, &str, &str)) -> Result<()> {
        let (first, second) = (self.namespace(one.0), self.namespace(two.0));
        ip(&format!("-n {first} link add {} type veth peer name {} netns {second}", one.1, two.1)).await?;
        for (place, device, address) in [one, two] {
            let namespace = self.namespace(place);
            ip(&format!("-n {namespace} addr add {address} dev {device}")).await?;
            ip(&format!("-n {namespace} link set {device} up")).await?;
        }
        Ok(())
    }

    /// A command inside: bound to the place's CPU, ended with us. The process that starts is the program itself.
    pub(crate) fn command(&self, place: Place, user: User, program: &Path) -> Command {
        let cpu = match place {
            Place::A => 0,
            Place::B | Place::Control => std::thread::available_parallelism().map_or(0, |cpus| cpus.get().min(2) - 1),
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(place), "taskset", "--cpu-list", &cpu.to_string()]);
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        let id = match user {
            User::Root => None,
            User::Proxy => Some(PROXY_UID.to_string()),
            User::App => Some("65534".to_owned()),
        };
        if let Some(id) = id {
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.arg(program).kill_on_drop(true).stdin(Stdio::null());
        command
    }

    fn namespace(&self, place: Place) -> String {
        let place = match place {
            Place::A => "a",
            Place::B => "b",
            Place::Control => "control",
        };
        format!("{}-{place}", self.name)
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for place in [Place::A, Place::B, Place::Control] {
            delete(&self.namespace(place));
        }
    }
}

/// Removes the namespaces of a run that was killed before it could clean up.
pub(crate) fn sweep() {
    for name in left_behind(Path::new("/run/netns"), PREFIX) {
        delete(&name);
    }
}

/// The names `PREFIX-PID…` in a folder whose process is gone.
pub(crate) fn left_behind(folder: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_left = |name: &String| {
        let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        let pid = rest.split('-').next().unwrap_or_default();
        pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    names.filter(is_left).collect()
}

fn delete(namespace: &str) {
    let deleted = std::process::Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
    drop(deleted);
}

async fn ip(args: &str) -> Result<()> {
    let output = Command::new("ip").args(args.split(' ')).output().await.context("run `ip` (package iproute2)")?;
    if !output.status.success() {
        bail!("`ip {args}`: {}; network namespaces need root", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
