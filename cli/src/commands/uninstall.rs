//! `outrigger uninstall`: removes the mesh and all that it made.

use outrigger_console::exit::Exit;
use outrigger_console::output::Output;

use crate::cluster::Uninstall;
use crate::flags::ClusterFlags;
use crate::kubernetes;

/// `outrigger uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Uninstall even if pods still have sidecars, which work until their certificates expire, or Workload objects exist; the objects are
    /// deleted with their CRD.
    #[arg(long)]
    force: bool,
}

/// Exit 0: gone; 1: it is still in use; 2: it could not be done; 3: some of it did not go in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    kubernetes::uninstall(&Uninstall { target: args.cluster.target(), force: args.force }, output).await
}
