//! Where the mesh's processes run: network namespaces, or the host's loopback.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use outrigger_sandbox::{Namespace, Network};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::addresses::Addresses;
use super::process;
use crate::folder::Paths;

/// The kind of place, and how a proxy's own traffic is told from its app's there.
#[derive(Debug)]
pub(super) enum Place {
    /// A network of namespaces.
    Namespaces { network: Network, exempt: Exempt },
    /// The host's loopback.
    Loopback,
}

/// What the capture leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exempt {
    /// Traffic of this user.
    Uid(u32),
    /// Sockets with this mark: where only one user exists, or the binary is not for others to run.
    Mark(&'static str),
}

impl Place {
    pub(super) fn namespaces(network: Network, has_uids: bool, paths: &Paths) -> anyhow::Result<Self> {
        let exempt = if has_uids && runs_as(PROXY_UID)? && readable_by_others(paths.root()) {
            Exempt::Uid(PROXY_UID)
        } else {
            Exempt::Mark(PROXY_MARK)
        };
        Ok(Self::Namespaces { network, exempt })
    }

    pub(super) fn loopback() -> Self {
        Self::Loopback
    }

    /// The place where the control plane and this process are.
    pub(super) fn here() -> Site {
        Site { namespace: None }
    }

    /// Makes a workload's place.
    pub(super) fn site(&self, name: &str, host: u8, addresses: Addresses) -> anyhow::Result<Site> {
        let Self::Namespaces { network, .. } = self else { return Ok(Self::here()) };
        let namespace = network.namespace(name, addresses.workload(host), Addresses::workload_v6(host))?;
        Ok(Site { namespace: Some(Arc::new(namespace)) })
    }

    /// What the capture leaves alone; nothing is captured on loopback.
    pub(super) fn exempt(&self) -> Option<Exempt> {
        match self {
            Self::Namespaces { exempt, .. } => Some(*exempt),
            Self::Loopback => None,
        }
    }
}

impl Exempt {
    /// Gives a folder and what is in it to the user that the sidecar runs as.
    pub(super) fn give(self, folder: &Path) -> anyhow::Result<()> {
        let Self::Uid(uid) = self else { return Ok(()) };
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        for path in entries.chain([Ok(folder.to_owned())]) {
            let path = path?;
            chown(&path, Some(uid), Some(uid)).with_context(|| format!("give {} to user {uid}", path.display()))?;
        }
        Ok(())
    }
}

/// Where a workload's app and sidecar run.
#[derive(Debug, Clone)]
pub(super) struct Site {
    namespace: Option<Arc<Namespace>>,
}

impl Site {
    /// Starts a program here.
    pub(super) fn start(&self, command: &mut Command) -> anyhow::Result<Child> {
        match &self.namespace {
            Some(namespace) => Ok(namespace.start_async(command)?),
            None => {
                // No pid namespace ends these with their parent; they are this binary, which then asks for it.
                command.env(crate::DIE_WITH_PARENT, "1");
                let program = command.as_std().get_program().to_string_lossy().into_owned();
                command.spawn().with_context(|| format!("start {program}"))
            }
        }
    }

    /// Opens a connection as a program that runs here would.
    pub(super) async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let Some(namespace) = self.namespace.clone() else {
            return tokio::time::timeout(CONNECT, TcpStream::connect(addr)).await?;
        };
        let connect = move || namespace.run(|| std::net::TcpStream::connect_timeout(&addr, CONNECT));
        let stream = tokio::task::spawn_blocking(connect).await.map_err(io::Error::other)???;
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

/// The binary may lie where only its owner can reach it.
fn runs_as(uid: u32) -> anyhow::Result<bool> {
    let mut command = process::outrigger(["version"])?.into_std();
    std::os::unix::process::CommandExt::uid(&mut command, uid);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(status.is_ok_and(|status| status.success()))
}

/// A folder for temporary files may be closed to other users.
fn readable_by_others(folder: &Path) -> bool {
    let open = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0);
    folder.ancestors().all(open)
}

const PROXY_UID: u32 = 4140;
const PROXY_MARK: &str = "0x4f52";
const CONNECT: Duration = Duration::from_secs(5);
