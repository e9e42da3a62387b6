//! What `outrigger check` and `outrigger run` ask a running demo, by its socket: one JSON line each way, `run` many back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use outrigger_console::exit::Failure;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::event::Mode;
use super::folder;

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Who is there?
    Mesh,
    /// An admin page of the control plane.
    ControlPlane(String),
    /// An admin page of a workload's sidecar.
    Sidecar(String, String),
    /// A program to run as a new workload, until the connection closes.
    Run(Program),
}

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    pub service: String,
    pub port: u16,
    pub command: Vec<String>,
    pub directory: PathBuf,
    pub variables: BTreeMap<String, String>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The mesh.
    Mesh {
        /// How traffic reaches the sidecars.
        mode: Mode,
        /// The names of the workloads.
        workloads: Vec<String>,
    },
    /// A page.
    Page(u16, String),
    /// It cannot be done.
    Refused(String, String),
    /// The program runs.
    Started {
        /// The workload's name.
        workload: String,
        /// Where the mesh's programs reach it.
        address: String,
        /// A socket that leads there from the host.
        socket: PathBuf,
    },
    /// A line that it printed.
    Stdout(String),
    /// A line that it printed.
    Stderr(String),
    /// It ended, with this code unless a signal ended it.
    Ended(Option<i32>),
}

/// A connection to a running demo.
#[derive(Debug)]
pub struct Connection {
    lines: Lines,
    write: OwnedWriteHalf,
}

impl Connection {
    /// Connects to the demo that the calling user keeps running.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open() -> anyhow::Result<Self> {
        for paths in folder::running() {
            if let Ok(stream) = UnixStream::connect(paths.mesh_socket()).await {
                let (read, write) = stream.into_split();
                return Ok(Self { lines: Lines::new(read), write });
            }
        }
        Err(Failure::new("no mesh runs on this machine", "start one in another terminal: outrigger demo --keep").into())
    }

    /// Asks, and returns the first answer.
    ///
    /// # Errors
    /// When the demo refuses, or is gone.
    pub async fn ask(&mut self, question: &Question) -> anyhow::Result<Answer> {
        send(&mut self.write, question).await?;
        match self.next().await? {
            Answer::Refused(message, hint) => Err(Failure::new(message, hint).into()),
            answer => Ok(answer),
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// When the demo is gone.
    pub async fn next(&mut self) -> anyhow::Result<Answer> {
        self.lines.next().await?.context("the demo ended")
    }
}

/// Lines of JSON from the other side, none longer than [`MAX_LINE`].
#[derive(Debug)]
pub(crate) struct Lines(BufReader<Take<OwnedReadHalf>>);

impl Lines {
    pub(crate) fn new(read: OwnedReadHalf) -> Self {
        Self(BufReader::new(read.take(MAX_LINE)))
    }

    /// `None` when the other side closed.
    pub(crate) async fn next<T: for<'de> Deserialize<'de>>(&mut self) -> anyhow::Result<Option<T>> {
        let mut line = String::new();
        self.0.get_mut().set_limit(MAX_LINE);
        if self.0.read_line(&mut line).await.context("read from the demo's socket")? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).context("read from the demo's socket: not the JSON that was expected")
    }
}

/// Sends one line.
pub(crate) async fn send(write: &mut OwnedWriteHalf, line: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    write.write_all(&line).await.context("write to the demo's socket")
}

/// More than the largest page of the demo's mesh.
const MAX_LINE: u64 = 32 * 1024 * 1024;
