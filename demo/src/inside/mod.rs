//! The process inside: it builds the mesh, tries every claim, and tells the outer process.

mod addresses;
mod admin;
mod collector;
mod forward;
mod guest;
mod mesh;
mod place;
mod process;
mod prove;
mod shop;
mod socket;
mod spans;
mod tree;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use outrigger_console::exit::Exit;
use outrigger_console::output::Output;
use outrigger_sandbox::{Network, Sandbox};
use tokio::io::AsyncReadExt as _;

use self::addresses::Addresses;
use self::collector::Collector;
use self::mesh::{ControlPlane, Mesh};
use self::place::Place;
use self::prove::Proof;
use self::socket::{answer_questions, lead_to_frontend};
use super::event::{Event, Finished, Mode};
use super::folder::Paths;

/// `outrigger demo-inside`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The demo's folder.
    #[arg(long)]
    folder: PathBuf,
    /// Without namespaces.
    #[arg(long)]
    loopback: bool,
    /// The outer process leads to an OTLP receiver.
    #[arg(long)]
    forward_otlp: bool,
}

/// Runs until the outer process closes stdin.
///
/// # Errors
/// When stdin cannot be read; all else is told as an event.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let emit = Emit { output };
    tokio::select! {
        ended = parent_is_gone() => ended.map(|()| Exit::Yes),
        never = play(args, &emit) => match never {},
    }
}

/// Tells the outer process.
struct Emit<'a> {
    output: &'a Output,
}

impl Emit<'_> {
    fn step(&self, name: &str, proof: anyhow::Result<Proof>) {
        self.event(&Event::Step(proof.unwrap_or_else(Proof::failed).step(name)));
    }

    fn event(&self, event: &Event) {
        // Our own events have string keys only, which is all that can fail.
        self.output.data(&serde_json::to_string(event).unwrap_or_default());
    }
}

async fn play(args: &Args, emit: &Emit<'_>) -> Infallible {
    let paths = Paths::new(args.folder.clone());
    let mode = if args.loopback { Mode::Loopback } else { Mode::Namespaces };
    let collector = Arc::new(Collector::default());
    let mesh = match build(mode, &paths, args.forward_otlp, &collector, emit).await {
        Ok(mesh) => Arc::new(mesh),
        Err(error) => {
            // The outer process decides what is next, and ends this one.
            emit.event(&told(&error));
            return std::future::pending().await;
        }
    };
    let prove = async {
        let trace_id = prove::all(&mesh, &collector, emit).await;
        emit.event(&Event::Finished(Finished { forwarded_exports: collector.forwarded().await, trace_id }));
        std::future::pending::<Infallible>().await
    };
    let sockets = async { tokio::try_join!(answer_questions(mesh.clone()), lead_to_frontend(mesh.clone())) };
    tokio::select! {
        never = prove => never,
        ended = sockets => {
            if let Err(error) = ended {
                emit.event(&told(&error));
            }
            std::future::pending().await
        }
    }
}

async fn build(
    mode: Mode,
    paths: &Paths,
    forward_otlp: bool,
    collector: &Arc<Collector>,
    emit: &Emit<'_>,
) -> anyhow::Result<Mesh> {
    let addresses = Addresses::new(mode);
    let place = match mode {
        Mode::Namespaces => {
            let sandbox = Sandbox::enter()?;
            let network =
                Network::new(&sandbox).map_err(|error| Unsupported(format!("{:#}", anyhow::Error::from(error))))?;
            Place::namespaces(network, sandbox.has_uids(), paths)?
        }
        Mode::Loopback => Place::loopback(),
    };
    let forward = forward_otlp.then(|| paths.otlp_socket());
    collector::listen(collector.clone(), addresses.collector(), forward).await?;
    emit.event(&Event::Started { mode, workloads: shop::MEMBERS.len() });
    let control_plane = ControlPlane::start(addresses, paths).await?;
    emit.step("ca", prove::ca(&control_plane));
    Mesh::start(control_plane, place).await
}

/// A sandbox without something that the demo needs in it: the outer process then tries without.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unsupported(String);

fn told(error: &anyhow::Error) -> Event {
    if let Some(Unsupported(reason)) = error.downcast_ref() {
        return Event::Unsupported { reason: reason.clone() };
    }
    let hint = "the logs of the last run are in the message; please report it if it happens again";
    Event::Failed { message: format!("{error:#}"), hint: hint.into() }
}

/// Completes when the outer process closes its end, on purpose or by dying.
async fn parent_is_gone() -> anyhow::Result<()> {
    let mut nothing = [0; 64];
    let mut stdin = tokio::io::stdin();
    while stdin.read(&mut nothing).await.context("read stdin")? > 0 {}
    Ok(())
}
