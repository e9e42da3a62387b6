//! One namespace of a network: what a pod is in Kubernetes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};

use crate::netlink::Netlink;
use crate::netns::NetNs;

/// A network namespace with an `eth0` on the network's bridge. Dropping it takes the link away; the namespace itself
/// goes when the last process and socket in it are gone.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    netns: NetNs,
    bridge_side: NetNs,
    link: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Namespace {
    pub(crate) fn new(name: &str, netns: NetNs, bridge_side: NetNs, link: String, ips: (Ipv4Addr, Ipv6Addr)) -> Self {
        Self { name: name.to_owned(), netns, bridge_side, link, v4: ips.0, v6: ips.1 }
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The IPv4 address of its `eth0`.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// The IPv6 address of its `eth0`.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// Runs `work` inside, and waits for it. Sockets and processes that it makes belong to the namespace for good.
    ///
    /// # Errors
    /// When the thread cannot start or cannot join the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.netns.run(&self.name, work)
    }

    /// Runs `work` inside on a thread of its own, and does not wait: for servers, and for runtimes of tests.
    ///
    /// # Errors
    /// When the thread cannot start.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let netns = self.netns.clone();
        thread::Builder::new().name(self.name.clone()).spawn(move || netns.join().map(|()| work()))
    }

    /// Starts a program inside. A `uid` that is set on the command takes effect after the namespace was joined.
    ///
    /// # Errors
    /// Names the program that did not start.
    pub fn start(&self, command: &mut Command) -> Result<Child, StartError> {
        let spawned = self.run(|| command.spawn()).and_then(|spawned| spawned);
        spawned.map_err(|source| self.not_started(command, source))
    }

    /// Starts a program inside, for use with the calling tokio runtime.
    ///
    /// # Errors
    /// Names the program that did not start.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_async(&self, command: &mut tokio::process::Command) -> Result<tokio::process::Child, StartError> {
        let runtime = tokio::runtime::Handle::current();
        let spawned = self.run(|| {
            let _entered = runtime.enter();
            command.spawn()
        });
        spawned.and_then(|spawned| spawned).map_err(|source| self.not_started(command.as_std(), source))
    }

    fn not_started(&self, command: &Command, source: io::Error) -> StartError {
        let program = command.get_program().to_string_lossy().into_owned();
        StartError { program, namespace: self.name.clone(), source }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Fails only when the network itself is gone already, and the link with it.
        let _ = Netlink::in_namespace(&self.bridge_side, async |netlink| netlink.remove_link(&self.link).await);
    }
}

/// A program did not start in a namespace.
#[derive(Debug, thiserror::Error)]
#[error("start {program} in namespace {namespace}")]
pub struct StartError {
    program: String,
    namespace: String,
    #[source]
    source: io::Error,
}
