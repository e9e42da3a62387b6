//! `outrigger check`: is a mesh well? It asks the control plane, every sidecar and the cluster, and says what is not.

use std::net::SocketAddr;

use outrigger_console::exit::Exit;
use outrigger_console::output::{Format, Output};

use crate::check::finding::Category;
use crate::check::judge;
use crate::check::pages::Pages;
use crate::check::report::{self, FailOn};
use crate::cluster::{Check, Scope};
use crate::flags::ClusterFlags;
use crate::kubernetes;

/// `outrigger check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Admin address of a control plane on this machine; without it, the cluster that KUBECONFIG names, the mesh of a running `outrigger demo`, or the cluster.
    #[arg(long, value_name = "IP:PORT")]
    control_plane: Option<SocketAddr>,
    /// The mesh of a running `outrigger demo`, even when there is a cluster.
    #[arg(long, conflicts_with_all = ["control_plane", "pre", "namespace", "kubeconfig", "context"])]
    demo: bool,
    /// Admin address of a sidecar (repeatable).
    #[arg(long, value_name = "IP:PORT", requires = "control_plane")]
    sidecar: Vec<SocketAddr>,
    /// Only whether the mesh could be installed in the cluster.
    #[arg(long, conflicts_with = "control_plane")]
    pre: bool,
    /// Only the pods of this namespace.
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["control_plane", "pre"])]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// From which finding on the answer is no (exit code 1).
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    fail_on: FailOn,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Exit 0: healthy; 1: not; 2: it could not be found out.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let categories = match args.control_plane {
        Some(addr) => judge::all(&Pages::of_addresses(addr, &args.sidecar).await?),
        None if args.demo => judge::all(&Pages::of_demo().await?),
        None if args.names_a_cluster() => in_cluster(args).await?,
        None => match Pages::of_demo().await {
            Ok(pages) => judge::all(&pages),
            Err(no_demo) => in_cluster_at_hand(args, no_demo).await?,
        },
    };
    Ok(report::report(&categories, args.fail_on, args.output, output))
}

impl Args {
    fn names_a_cluster(&self) -> bool {
        let ClusterFlags { kubeconfig, context, .. } = &self.cluster;
        let by_flag = self.pre || self.namespace.is_some() || kubeconfig.is_some() || context.is_some();
        by_flag || kubernetes::is_named_by_environment()
    }
}

async fn in_cluster(args: &Args) -> anyhow::Result<Vec<Category>> {
    let scope = match &args.namespace {
        _ if args.pre => Scope::BeforeInstall,
        None => Scope::Everything,
        Some(namespace) => Scope::Namespace(namespace.clone()),
    };
    kubernetes::check(&Check { target: args.cluster.target(), scope }).await
}

/// The cluster, if there is one; else what is wrong is that there is no demo.
async fn in_cluster_at_hand(args: &Args, no_demo: anyhow::Error) -> anyhow::Result<Vec<Category>> {
    if kubernetes::is_at_hand().await { in_cluster(args).await } else { Err(no_demo) }
}
