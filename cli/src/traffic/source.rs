//! Where the document comes from: a control plane on this machine, a running demo, or a cluster by port-forward.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::get;
use outrigger_console::output::{Output, Stream};
use outrigger_demo::ask::{Answer, Connection, Question};
use tokio::time::Instant;

use super::edges::EdgeList;
use crate::cluster::Target;
use crate::kubernetes;

/// Which control plane to ask.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceFlags {
    /// Admin address of a control plane on this machine; without it, the cluster that KUBECONFIG names, the mesh of a running `outrigger demo`, or the cluster.
    #[arg(long, value_name = "IP:PORT")]
    control_plane: Option<SocketAddr>,
    /// The mesh of a running `outrigger demo`, even when there is a cluster.
    #[arg(long, conflicts_with_all = ["control_plane", "kubeconfig", "context"])]
    demo: bool,
    /// The kubeconfig file; without it, what KUBECONFIG names, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig; without it, the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The namespace of the mesh itself.
    #[arg(long, value_name = "NAME", default_value = "outrigger-system")]
    mesh_namespace: String,
}

/// Whose traffic.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NamespaceFlags {
    /// Only this namespace; without it, the context's in a cluster, and all of them elsewhere.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

impl NamespaceFlags {
    /// Returns the namespace; `None`: all.
    pub(crate) async fn find(&self, source: &Source) -> anyhow::Result<Option<String>> {
        match source {
            _ if self.all_namespaces => Ok(None),
            _ if self.namespace.is_some() => Ok(self.namespace.clone()),
            Source::Cluster(target) => kubernetes::default_namespace(target).await.map(Some),
            Source::Address(_) | Source::Demo => Ok(None),
        }
    }
}

impl EdgeList {
    /// Says what is missing in what is shown.
    pub(crate) fn warn(&self, output: &Output) {
        let Self { sidecars, replicas, refused_edges, .. } = self;
        if replicas.answered < replicas.asked {
            let missing = replicas.asked - replicas.answered;
            output.warning(&format!("{missing} of {} control plane replicas did not answer", replicas.asked));
        }
        if sidecars.capable < sidecars.connected && sidecars.capable > 0 {
            let old = sidecars.connected - sidecars.capable;
            output.warning(&format!("{old} of {} sidecars are too old to report traffic", sidecars.connected));
        }
        if *refused_edges > 0 || self.edges.iter().any(|edge| edge.overflow && edge.is_used()) {
            output.warning("there is more traffic than fits: some is counted together, or not at all");
        }
    }
}

/// The time over which traffic is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Window {
    /// The last ten seconds; sidecars report every two.
    #[default]
    #[value(name = "10s")]
    Short,
    /// The last minute; sidecars report every ten seconds.
    #[value(name = "1m")]
    Long,
}

impl Window {
    fn page(self) -> &'static str {
        match self {
            Self::Short => "/edges/live",
            Self::Long => "/edges",
        }
    }

    fn length(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(10),
            Self::Long => Duration::from_secs(60),
        }
    }
}

/// A control plane that is asked.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Address(SocketAddr),
    Demo,
    Cluster(Target),
}

impl SourceFlags {
    /// Finds the control plane.
    pub(crate) async fn find(&self) -> anyhow::Result<Source> {
        let Self { kubeconfig, context, mesh_namespace, .. } = self;
        let cluster = || {
            let (kubeconfig, context, mesh_namespace) = (kubeconfig.clone(), context.clone(), mesh_namespace.clone());
            Source::Cluster(Target { kubeconfig, context, mesh_namespace, timeout: get::PATIENCE })
        };
        if let Some(address) = self.control_plane {
            return Ok(Source::Address(address));
        }
        if self.demo {
            return Ok(Source::Demo);
        }
        if kubeconfig.is_some() || context.is_some() || kubernetes::is_named_by_environment() {
            return Ok(cluster());
        }
        match Connection::open().await {
            Ok(_) => Ok(Source::Demo),
            Err(_) if kubernetes::is_at_hand().await => Ok(cluster()),
            Err(no_demo) => Err(no_demo),
        }
    }
}

impl Source {
    /// Reads the document as it is now. While it is read now and then, sidecars report.
    pub(crate) async fn read(&self, window: Window) -> anyhow::Result<EdgeList> {
        let page = window.page();
        let (status, body) = match self {
            Self::Address(address) => get::page(*address, page).await.map_err(|error| {
                let hint = "name the admin address of a running control plane, or run `outrigger demo --keep`";
                anyhow::Error::from(Failure::new(format!("{error:#}"), hint))
            })?,
            Self::Demo => match Connection::open().await?.ask(&Question::ControlPlane(page.to_owned())).await? {
                Answer::Page(status, body) => (status, body),
                other => anyhow::bail!("the demo said {other:?} instead of a page"),
            },
            Self::Cluster(target) => (200, kubernetes::control_plane_page(target, page).await?.to_string()),
        };
        if status == 404 {
            let hint = "upgrade the mesh to the version of this command: outrigger upgrade";
            return Err(Failure::new("the control plane's version does not report traffic", hint).into());
        }
        anyhow::ensure!(status == 200, "{page}: status {status}: {}", body.trim());
        serde_json::from_str(&body).with_context(|| format!("{page}: not the JSON that was expected"))
    }

    /// Reads the document of a whole window: when nobody has looked before, that takes as long as the window.
    pub(crate) async fn read_window(&self, window: Window, output: &Output) -> anyhow::Result<EdgeList> {
        let started = Instant::now();
        let mut told = false;
        loop {
            let list = self.read(window).await?;
            let observed = Duration::try_from_secs_f64(list.observed_seconds).unwrap_or_default();
            let all_told = list.replicas.asked == list.replicas.answered
                && list.sidecars.reporting == list.sidecars.capable
                && observed >= window.length();
            // Somebody who does not report, or has restarted, is not waited for without end.
            if all_told || list.sidecars.capable == 0 || started.elapsed() > window.length() + LATE {
                return Ok(list);
            }
            if !std::mem::replace(&mut told, true) {
                let left = window.length().saturating_sub(observed).as_secs_f64().ceil();
                output.line(Stream::Stderr, &format!("collecting traffic for {left:.0} s"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Says why nothing is shown. The answer is no: there is no such traffic.
pub(crate) fn nothing((message, hint): (String, String)) -> anyhow::Error {
    Failure { message, hint: Some(hint), exit: Exit::No }.into()
}

const PAUSE: Duration = Duration::from_millis(500);

/// How long after the window a report may come.
const LATE: Duration = Duration::from_secs(5);
