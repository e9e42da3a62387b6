//! The demo's sockets: one leads to the frontend, one answers `outrigger check` and `outrigger run`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::mesh::Mesh;
use super::place::{Place, Site};
use super::{admin, guest, shop};
use crate::ask::{Answer, Lines, Question, send};

/// Answers questions, until dropped.
pub(super) async fn answer_questions(mesh: Arc<Mesh>) -> anyhow::Result<()> {
    let path = mesh.control_plane.paths().mesh_socket();
    let listener = bind(&path).with_context(|| format!("listen on {}", path.display()))?;
    let mut conversations = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        conversations.spawn(converse(mesh.clone(), stream));
        while conversations.try_join_next().is_some() {}
    }
}

/// Leads connections of a unix socket to an address, as a program of the load's workload would dial it.
pub(super) async fn lead_to(socket: &Path, site: Site, addr: SocketAddr) -> io::Result<()> {
    let listener = bind(socket)?;
    let mut connections = JoinSet::new();
    loop {
        let (mut outside, _) = listener.accept().await?;
        let site = site.clone();
        connections.spawn(async move {
            let mut inside = site.connect(addr).await?;
            tokio::io::copy_bidirectional(&mut outside, &mut inside).await
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Leads to the frontend, through the load's sidecar.
pub(super) async fn lead_to_frontend(mesh: Arc<Mesh>) -> anyhow::Result<()> {
    let load = mesh.member(shop::LOAD)?;
    let upstream = load.member.upstream.as_ref().context("the load calls nobody")?;
    let addr = mesh.control_plane.addresses().dialled(load.member, upstream);
    let socket = mesh.control_plane.paths().frontend_socket();
    lead_to(&socket, load.site.clone(), addr).await.with_context(|| format!("lead from {}", socket.display()))
}

/// For the user who runs the demo, and nobody else.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn converse(mesh: Arc<Mesh>, stream: UnixStream) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = Lines::new(read);
    while let Some(question) = lines.next().await? {
        let answer = match question {
            Question::Mesh => {
                Ok(Answer::Mesh { mode: mesh.control_plane.addresses().mode(), workloads: mesh.workloads() })
            }
            Question::ControlPlane(page) => {
                let addr = mesh.control_plane.addresses().control_plane_admin();
                admin::get(&Place::here(), addr, &page).await.map(page_answer)
            }
            Question::Sidecar(workload, page) => sidecar(&mesh, &workload, &page).await,
            Question::Run(program) => return guest::run(mesh, program, lines, write).await,
        };
        let refused = |error: anyhow::Error| Answer::Refused(format!("{error:#}"), "is the mesh still up?".into());
        send(&mut write, &answer.unwrap_or_else(refused)).await?;
    }
    Ok(())
}

async fn sidecar(mesh: &Mesh, workload: &str, page: &str) -> anyhow::Result<Answer> {
    let (site, host) = mesh.site_of(workload)?;
    let addr = mesh.control_plane.addresses().sidecar_admin(host);
    admin::get(&site, addr, page).await.map(page_answer)
}

fn page_answer((status, body): (hyper::StatusCode, bytes::Bytes)) -> Answer {
    Answer::Page(status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}
