//! `outrigger upgrade`: the same objects as `install` would make, applied over those that are there; what is no longer among them goes.

use outrigger_console::exit::Exit;
use outrigger_console::output::Output;

use crate::flags::{ChartFlags, ClusterFlags};

/// `outrigger upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) chart: ChartFlags,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
    /// Forget the values of the install and of earlier upgrades.
    #[arg(long)]
    pub(crate) reset_values: bool,
    /// Take over fields that others have set.
    #[arg(long)]
    pub(crate) force_conflicts: bool,
}

/// Exit 0: upgraded and well; 1: a check failed; 2: it could not be done; 3: it did not come up in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    #[cfg(feature = "kubernetes")]
    {
        crate::kubernetes::install::upgrade(args, output).await
    }
    #[cfg(not(feature = "kubernetes"))]
    {
        let _ = (args, output);
        Err(crate::flags::not_in_this_build())
    }
}
