//! `outrigger upgrade`: the same objects as `install` would make, applied over those that are there; what is no longer among them goes.

use outrigger_console::exit::Exit;
use outrigger_console::output::Output;

use crate::cluster::Upgrade;
use crate::flags::{ChartFlags, ClusterFlags};
use crate::kubernetes;

/// `outrigger upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    chart: ChartFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Forget the values of the install and of earlier upgrades.
    #[arg(long)]
    reset_values: bool,
    /// Take over fields that others have set.
    #[arg(long)]
    force_conflicts: bool,
}

/// Exit 0: upgraded and well; 1: a check failed; 2: it could not be done; 3: it did not come up in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let options = Upgrade {
        target: args.cluster.target(),
        values: args.chart.values(),
        reset_values: args.reset_values,
        force_conflicts: args.force_conflicts,
    };
    kubernetes::upgrade(&options, output).await
}
