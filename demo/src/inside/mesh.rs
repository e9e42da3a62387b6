//! Building the mesh: a control plane, then a place, a sidecar and an app for each workload.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use hyper::StatusCode;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::place::{Exempt, Place, Site};
use super::process::{self, Process};
use super::shop::{self, MEMBERS, Member};
use super::{Unsupported, admin};
use crate::folder::Paths;

/// The control plane alone.
#[derive(Debug)]
pub(super) struct ControlPlane {
    process: Process,
    addresses: Addresses,
    paths: Paths,
}

/// The whole mesh.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) control_plane: ControlPlane,
    pub(super) place: Place,
    pub(super) members: Vec<Running>,
    guests: Mutex<Vec<Guest>>,
}

/// A workload that a user added.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) workload: String,
    pub(super) host: u8,
    pub(super) site: Site,
    /// The address of its service.
    pub(super) service: SocketAddr,
    /// Leads there from the host.
    pub(super) socket: PathBuf,
}

/// A workload that is to get a sidecar.
#[derive(Debug)]
pub(super) struct Joining<'a> {
    pub(super) workload: &'a str,
    pub(super) host: u8,
    /// The sidecar's own listeners, where nothing is captured.
    pub(super) explicit: Vec<String>,
}

/// One workload of the shop, with its sidecar.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) member: &'static Member,
    pub(super) site: Site,
    sidecar: Process,
    app: Process,
}

impl ControlPlane {
    /// Starts it on the demo's folder of YAML, and waits until it serves.
    pub(super) async fn start(addresses: Addresses, paths: &Paths) -> anyhow::Result<Self> {
        let mut command = process::outrigger(["control-plane", "run"])?;
        command.arg("--config-dir").arg(paths.config()).arg("--ca-dir").arg(paths.ca());
        command.args(["--listen", &addresses.control_plane().to_string()]);
        command.args(["--admin", &addresses.control_plane_admin().to_string()]);
        let process = Process::start(&Place::here(), "control-plane", command, &paths.logs())?;
        let control_plane = Self { process, addresses, paths: paths.clone() };
        ready(&Place::here(), addresses.control_plane_admin(), &control_plane.process).await?;
        // The CA's folder is closed to everyone else; the root certificate is for all to see.
        let (root, copy) = (paths.ca().join("root.pem"), paths.trust_anchors());
        fs::copy(&root, &copy)
            .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)))
            .with_context(|| format!("copy {}", root.display()))?;
        Ok(control_plane)
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    pub(super) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Asks for one of its admin pages.
    pub(super) async fn page(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.process.alive()?;
        admin::json(&Place::here(), self.addresses.control_plane_admin(), path).await
    }

    /// Mints a join token, by the command that an operator would use.
    pub(super) async fn token(&self, workload: &str) -> anyhow::Result<String> {
        let mut command = process::outrigger(["control-plane", "token", &format!("{}/{workload}", shop::NAMESPACE)])?;
        command.arg("--ca-dir").arg(self.paths.ca()).stdin(Stdio::null());
        let output = command.output().await.context("run `control-plane token`")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`control-plane token` for {workload}: {}", stderr.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Mesh {
    /// Starts all sidecars and apps; the load comes last, when everyone is ready for it.
    pub(super) async fn start(control_plane: ControlPlane, place: Place) -> anyhow::Result<Self> {
        let sites = MEMBERS.iter().map(|member| place.site(member.workload, member.host, control_plane.addresses));
        let sites: Vec<Site> = sites.collect::<anyhow::Result<_>>()?;
        let joining = MEMBERS.iter().zip(&sites).map(|(member, site)| {
            let explicit = explicit(control_plane.addresses, member);
            let joining = Joining { workload: member.workload, host: member.host, explicit };
            let (control_plane, place) = (&control_plane, &place);
            async move { join(control_plane, place, &joining, site).await }
        });
        let sidecars = try_join_all(joining).await?;
        let mut members = Vec::new();
        let mut load = None;
        for ((member, site), sidecar) in MEMBERS.iter().zip(sites).zip(sidecars) {
            if member.workload == shop::LOAD {
                load = Some((member, site, sidecar));
                continue;
            }
            let app = start_app(&control_plane, member, &site)?;
            members.push(Running { member, site, sidecar, app });
        }
        let listening = members.iter().map(|running| {
            let addr = control_plane.addresses.app(running.member);
            until(move || async move { running.site.connect(addr).await.is_ok() }, &running.app)
        });
        try_join_all(listening).await?;
        if let Some((member, site, sidecar)) = load {
            let app = start_app(&control_plane, member, &site)?;
            members.insert(0, Running { member, site, sidecar, app });
        }
        Ok(Self { control_plane, place, members, guests: Mutex::default() })
    }

    pub(super) fn member(&self, workload: &str) -> anyhow::Result<&Running> {
        let found = self.members.iter().find(|running| running.member.workload == workload);
        found.with_context(|| format!("no workload {workload}"))
    }

    /// The names of all workloads.
    pub(super) fn workloads(&self) -> Vec<String> {
        let shop = self.members.iter().map(|running| running.member.workload.to_owned());
        shop.chain(self.guests().iter().map(|guest| guest.workload.clone())).collect()
    }

    /// Where a workload is.
    pub(super) fn site_of(&self, workload: &str) -> anyhow::Result<(Site, u8)> {
        if let Some(guest) = self.guests().iter().find(|guest| guest.workload == workload) {
            return Ok((guest.site.clone(), guest.host));
        }
        self.member(workload).map(|running| (running.site.clone(), running.member.host))
    }

    /// Makes a place for a workload of the user's.
    pub(super) fn add_guest(&self, service: &str) -> anyhow::Result<Guest> {
        let mut guests = self.guests();
        let free = (FIRST_GUEST..=LAST_GUEST).find(|host| !guests.iter().any(|guest| guest.host == *host));
        let host = free.context("the mesh has no address left for another workload")?;
        let workload = format!("{service}-{host}");
        let site = self.place.site(&workload, host, self.control_plane.addresses)?;
        let socket = self.control_plane.paths.root().join(format!("{workload}.sock"));
        let guest = Guest { workload, host, site, service: ([10, 96, 0, host], 80).into(), socket };
        guests.push(guest.clone());
        Ok(guest)
    }

    pub(super) fn remove_guest(&self, guest: &Guest) {
        self.guests().retain(|other| other.host != guest.host);
    }

    fn guests(&self) -> MutexGuard<'_, Vec<Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when a process of the mesh has ended, with its last words.
    pub(super) fn alive(&self) -> anyhow::Result<()> {
        self.control_plane.process.alive()?;
        self.members.iter().try_for_each(|running| running.sidecar.alive().and_then(|()| running.app.alive()))
    }

    /// Asks for a page of a sidecar's admin server.
    pub(super) async fn sidecar_page(&self, running: &Running, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let addr = self.control_plane.addresses.sidecar_admin(running.member.host);
        let (status, body) = admin::get(&running.site, addr, path).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Asks an app itself, past its sidecar.
    pub(super) async fn app_page<T: serde::de::DeserializeOwned>(
        &self,
        running: &Running,
        path: &str,
    ) -> anyhow::Result<T> {
        running.app.alive()?;
        admin::json(&running.site, self.control_plane.addresses.app(running.member), path).await
    }
}

/// Installs the capture, and starts a sidecar that joins with a fresh token.
pub(super) async fn join(
    cp: &ControlPlane,
    place: &Place,
    joining: &Joining<'_>,
    site: &Site,
) -> anyhow::Result<Process> {
    let Joining { workload, host, explicit } = joining;
    let token = cp.token(workload).await?;
    let folder = sidecar_folder(cp, place, workload, &token)?;
    if let Some(exempt) = place.exempt() {
        init(site, exempt).await?;
    }
    let admin = cp.addresses.sidecar_admin(*host);
    let mut command = process::outrigger(["sidecar", "run"])?;
    command.args(["--workload", &format!("{}/{workload}", shop::NAMESPACE)]);
    command.args(["--control-plane", &cp.addresses.control_plane().to_string(), "--trust-domain", TRUST_DOMAIN]);
    command.arg("--trust-anchors").arg(cp.paths.trust_anchors()).arg("--token-file").arg(folder.join("token"));
    command.arg("--state-dir").arg(folder.join("state")).args(["--admin", &admin.to_string()]);
    command.args(["--otlp", &format!("http://{}", cp.addresses.collector()), "--trace-ratio", "1.0"]);
    match place.exempt() {
        Some(Exempt::Uid(uid)) => command.uid(uid).gid(uid),
        Some(Exempt::Mark(mark)) => command.args(["--mark", mark]),
        None => command.args(explicit),
    };
    let sidecar = Process::start(site, &format!("{workload}-sidecar"), command, &cp.paths.logs())?;
    ready(site, admin, &sidecar).await?;
    Ok(sidecar)
}

fn explicit(addresses: Addresses, member: &Member) -> Vec<String> {
    let mut flags = vec!["--inbound".into(), format!("{}={}", addresses.endpoint(member), addresses.app(member))];
    if let Some(upstream) = &member.upstream {
        let (listen, service) = (addresses.dialled(member, upstream), addresses.service(upstream));
        flags.extend(["--outbound".into(), format!("{listen}={service}")]);
    }
    flags
}

fn sidecar_folder(cp: &ControlPlane, place: &Place, workload: &str, token: &str) -> anyhow::Result<PathBuf> {
    let folder = cp.paths.sidecar(workload);
    let write = || {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(folder.join("state"))?;
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("token"))?;
        std::io::Write::write_all(&mut file, token.as_bytes())
    };
    write().with_context(|| format!("prepare {}", folder.display()))?;
    if let Some(exempt) = place.exempt() {
        exempt.give(&folder)?;
    }
    Ok(folder)
}

async fn init(site: &Site, exempt: Exempt) -> anyhow::Result<()> {
    let mut command = process::outrigger(["sidecar", "init"])?;
    match exempt {
        Exempt::Uid(uid) => command.args(["--proxy-uid", &uid.to_string()]),
        Exempt::Mark(mark) => command.args(["--proxy-mark", mark]),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = site.start(&mut command)?.wait_with_output().await?;
    if !output.status.success() {
        // A kernel without nftables, most likely: namespaces alone capture nothing.
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Unsupported(format!("no capture in a namespace: {}", stderr.trim())).into());
    }
    Ok(())
}

fn start_app(cp: &ControlPlane, member: &Member, site: &Site) -> anyhow::Result<Process> {
    let mut command = process::outrigger(["demo-app"])?;
    command.args(member.app).args(["--listen", &cp.addresses.app(member).to_string()]);
    if let Some(upstream) = &member.upstream {
        command.args([upstream.flag, &cp.addresses.dialled(member, upstream).to_string()]);
    }
    Process::start(site, member.workload, command, &cp.paths.logs())
}

/// Waits until `/ready` says so.
async fn ready(site: &Site, addr: SocketAddr, process: &Process) -> anyhow::Result<()> {
    until(|| async { matches!(admin::get(site, addr, "/ready").await, Ok((StatusCode::OK, _))) }, process).await
}

/// Asks again and again; fails when the process ends, or it takes too long.
async fn until<F: Future<Output = bool>>(done: impl Fn() -> F, process: &Process) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while !done().await {
        process.alive()?;
        if Instant::now() > deadline {
            let seconds = START_PATIENCE.as_secs();
            anyhow::bail!("{} was not ready within {seconds} s: {}", process.name(), process.last_words());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

const TRUST_DOMAIN: &str = "mesh.local";
/// Last bytes of the addresses of users' workloads.
const FIRST_GUEST: u8 = 100;
const LAST_GUEST: u8 = 199;
const START_PATIENCE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(10);
