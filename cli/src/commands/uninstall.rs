//! `outrigger uninstall`: removes the mesh and all that it made.

use outrigger_console::exit::Exit;
use outrigger_console::output::Output;

use crate::flags::ClusterFlags;

/// `outrigger uninstall`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
    /// Remove it although pods still have sidecars, which go on until their certificates expire, and although there are Workload
    /// objects, which go with their kind.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Exit 0: gone; 1: it is still in use; 2: it could not be done; 3: some of it did not go in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    #[cfg(feature = "kubernetes")]
    {
        crate::kubernetes::uninstall::run(args, output).await
    }
    #[cfg(not(feature = "kubernetes"))]
    {
        let _ = (args, output);
        Err(crate::flags::not_in_this_build())
    }
}
