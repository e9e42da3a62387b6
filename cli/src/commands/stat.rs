//! `outrigger stat`: success, rate, latency and mutual TLS of the traffic of the last seconds.

use outrigger_console::exit::Exit;
use outrigger_console::output::{API_VERSION, Output};
use serde_json::json;

use crate::traffic::empty;
use crate::traffic::rows::{By, Filter, rows};
use crate::traffic::source::{NamespaceFlags, SourceFlags, Window, nothing};
use crate::traffic::table::table;

/// `outrigger stat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A row for each of these.
    #[arg(value_enum, default_value_t)]
    kind: By,
    /// Only the workload, Service or route of this name.
    name: Option<String>,
    #[command(flatten)]
    namespace: NamespaceFlags,
    /// The time over which traffic is added up.
    #[arg(long, value_enum, default_value_t, value_name = "TIME")]
    window: Window,
    #[command(flatten)]
    source: SourceFlags,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: StatFormat,
}

/// `-o` of `outrigger stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum StatFormat {
    /// For people.
    #[default]
    Table,
    /// The table with more columns.
    Wide,
    /// For programs: one versioned JSON document.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// Exit 0: there is such traffic; 1: there is none; 2: it could not be found out.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let source = args.source.find().await?;
    let filter = Filter { namespace: args.namespace.find(&source).await?, name: args.name.clone() };
    let list = source.read_window(args.window, output).await?;
    list.warn(output);
    let rows = rows(&list, args.kind, &filter);
    let document = || {
        json!({
            "apiVersion": API_VERSION, "kind": "TrafficStat", "windowSeconds": list.window_seconds, "items": rows,
        })
    };
    match args.output {
        StatFormat::Json => output.json(&document()),
        StatFormat::Yaml => output.data(serde_saphyr::to_string(&document())?.trim_end()),
        StatFormat::Table | StatFormat::Wide if rows.is_empty() => return Err(nothing(empty::why(&list, &filter))),
        StatFormat::Table | StatFormat::Wide => {
            let wide = args.output == StatFormat::Wide;
            table(&rows, args.kind, wide).iter().for_each(|line| output.data(line));
        }
    }
    Ok(if rows.is_empty() { Exit::No } else { Exit::Yes })
}
