//! `outrigger install`: the objects of the charts, applied, waited for, and checked; or printed.

use outrigger_console::exit::Exit;
use outrigger_console::output::Output;
use serde_json::Value;

use crate::cluster::Install;
use crate::flags::{ChartFlags, ClusterFlags};
use crate::{installation, kubernetes};

/// `outrigger install`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    chart: ChartFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Change nothing and print the objects, for `kubectl apply --server-side -f -` or for Git.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: how to print.
    #[arg(short, long, value_enum, default_value_t, requires = "dry_run")]
    output: Manifest,
    /// Install although a check beforehand found errors.
    #[arg(long, conflicts_with = "dry_run")]
    skip_checks: bool,
    /// Take over fields that others have set.
    #[arg(long, conflicts_with = "dry_run")]
    force_conflicts: bool,
}

/// How objects are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Manifest {
    /// YAML documents.
    #[default]
    Yaml,
    /// One JSON List.
    Json,
}

/// Exit 0: installed and well; 1: a check failed; 2: it could not be done; 3: it did not come up in time.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.dry_run {
        let objects = installation::objects(&args.cluster.mesh_namespace, &args.chart.values().changes()?)?;
        print(&objects, args.output, output)?;
        return Ok(Exit::Yes);
    }
    let options = Install {
        target: args.cluster.target(),
        values: args.chart.values(),
        skip_checks: args.skip_checks,
        force_conflicts: args.force_conflicts,
    };
    kubernetes::install(&options, output).await
}

fn print(objects: &[Value], format: Manifest, output: &Output) -> anyhow::Result<()> {
    match format {
        Manifest::Yaml => {
            for object in objects {
                output.data(&format!("---\n{}", serde_saphyr::to_string(object)?.trim_end()));
            }
        }
        Manifest::Json => {
            output.json(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}));
        }
    }
    Ok(())
}
