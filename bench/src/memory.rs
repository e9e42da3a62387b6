//! What thousands of idle connections cost, and whether the memory comes back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::contender::{Contender, PairMemory};

/// How long connections are left idle, and then the sidecars without them, before memory counts.
const IDLE: Duration = Duration::from_secs(10);

/// Memory of one contender's sidecars.
#[derive(Debug, Serialize)]
pub(crate) struct IdleCost {
    pub(crate) connections: usize,
    /// Before them; after the other cases.
    pub(crate) before: PairMemory,
    /// While they are open, each used once and idle since.
    pub(crate) open: PairMemory,
    /// Some seconds after they were closed.
    pub(crate) after: PairMemory,
    /// What one costs both sidecars together.
    pub(crate) kib_each: f64,
}

/// Holds idle connections through a contender's sidecars; `None` when it has none.
pub(crate) async fn measure(contender: &Contender, connections: usize) -> Result<Option<IdleCost>> {
    let Some(before) = contender.memory()? else { return Ok(None) };
    let mut client = contender.hold(connections)?;
    let mut said = String::new();
    let mut stdout = BufReader::new(client.stdout.take().context("no stdout")?);
    stdout.read_line(&mut said).await?;
    anyhow::ensure!(said.trim() == "\"open\"", "the idle client could not open {connections} connections");
    tokio::time::sleep(IDLE).await;
    let open = contender.memory()?.context("the sidecars are gone")?;
    drop(client.stdin.take());
    client.wait().await?;
    tokio::time::sleep(IDLE).await;
    let after = contender.memory()?.context("the sidecars are gone")?;
    #[expect(clippy::cast_precision_loss, reason = "some MiB over some thousand connections")]
    let kib_each = open.resident_kib().saturating_sub(before.resident_kib()) as f64 / connections as f64;
    Ok(Some(IdleCost { connections, before, open, after, kib_each }))
}
