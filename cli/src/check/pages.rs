//! Fetching the pages that the checks look at.

use std::net::SocketAddr;

use anyhow::Context as _;
use outrigger_console::exit::Failure;
use outrigger_console::get;
use outrigger_demo::ask::{Answer, Connection, Question};
use serde_json::Value;

/// What the control plane and the sidecars say of themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages {
    /// The control plane's `/config`.
    pub(crate) config: Value,
    /// The control plane's `/sidecars`.
    pub(crate) sidecars: Value,
    /// Each sidecar that was asked.
    pub(crate) asked: Vec<Asked>,
}

/// One sidecar's own word.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Its workload, or the address that was asked while that is unknown.
    pub(crate) name: String,
    /// `/ready`: the status, and what it said.
    pub(crate) ready: Result<(u16, String), String>,
    /// `/config`.
    pub(crate) config: Value,
}

impl Pages {
    /// Asks the demo that this user keeps running.
    pub(crate) async fn of_demo() -> anyhow::Result<Self> {
        let mut demo = Connection::open().await?;
        let Answer::Mesh { workloads, .. } = demo.ask(&Question::Mesh).await? else {
            anyhow::bail!("the demo did not name its workloads; is it of another version?");
        };
        let config = json(page(&mut demo, &Question::ControlPlane("/config".into())).await?)?;
        let sidecars = json(page(&mut demo, &Question::ControlPlane("/sidecars".into())).await?)?;
        let mut asked = Vec::new();
        for workload in workloads {
            let question = |page: &str| Question::Sidecar(workload.clone(), page.to_owned());
            let ready = page(&mut demo, &question("/ready")).await.map_err(|error| format!("{error:#}"));
            let config = page(&mut demo, &question("/config")).await.and_then(json).unwrap_or_default();
            asked.push(Asked { name: workload, ready, config });
        }
        Ok(Self { config, sidecars, asked })
    }

    /// Asks admin addresses.
    pub(crate) async fn of_addresses(control_plane: SocketAddr, sidecars: &[SocketAddr]) -> anyhow::Result<Self> {
        let unreachable = |error: anyhow::Error| {
            let hint = "name the admin address of a running control plane, or run `outrigger demo --keep`";
            anyhow::Error::from(Failure::new(format!("{error:#}"), hint))
        };
        let config = get::page(control_plane, "/config").await.and_then(json).map_err(unreachable)?;
        let connected = get::page(control_plane, "/sidecars").await.and_then(json).map_err(unreachable)?;
        let mut asked = Vec::new();
        for addr in sidecars {
            let ready = get::page(*addr, "/ready").await.map_err(|error| format!("{error:#}"));
            let config = get::page(*addr, "/config").await.and_then(json).unwrap_or_default();
            let name = config["workload"]["name"].as_str().map_or_else(|| addr.to_string(), str::to_owned);
            asked.push(Asked { name, ready, config });
        }
        Ok(Self { config, sidecars: connected, asked })
    }
}

async fn page(demo: &mut Connection, question: &Question) -> anyhow::Result<(u16, String)> {
    match demo.ask(question).await? {
        Answer::Page(status, body) => Ok((status, body)),
        other => anyhow::bail!("the demo said {other:?} instead of a page"),
    }
}

fn json((status, body): (u16, String)) -> anyhow::Result<Value> {
    anyhow::ensure!(status == 200, "status {status}: {}", body.trim());
    serde_json::from_str(&body).context("not the JSON that was expected")
}
