//! `outrigger graph`: which workloads send to which, with rate, success and mutual TLS.

use outrigger_console::exit::Exit;
use outrigger_console::output::{API_VERSION, Output};
use serde_json::json;

use crate::traffic::empty;
use crate::traffic::graph::{dot, links, mermaid, text};
use crate::traffic::rows::Filter;
use crate::traffic::source::{NamespaceFlags, SourceFlags, Window, nothing};

/// `outrigger graph`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    namespace: NamespaceFlags,
    /// The time over which traffic is added up.
    #[arg(long, value_enum, default_value_t, value_name = "TIME")]
    window: Window,
    #[command(flatten)]
    source: SourceFlags,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t)]
    output: GraphFormat,
}

/// `-o` of `outrigger graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum GraphFormat {
    /// A line for each edge.
    #[default]
    Text,
    /// For Graphviz: `outrigger graph -o dot | dot -Tsvg`.
    Dot,
    /// For Markdown that draws Mermaid.
    Mermaid,
    /// For programs: one versioned JSON document.
    Json,
}

/// Exit 0: there is traffic; 1: there is none; 2: it could not be found out.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let source = args.source.find().await?;
    let namespace = args.namespace.find(&source).await?;
    let list = source.read_window(args.window, output).await?;
    list.warn(output);
    let links = links(&list, namespace.as_deref());
    let lines = match args.output {
        GraphFormat::Json => {
            let seconds = list.window_seconds;
            output.json(&json!({
                "apiVersion": API_VERSION, "kind": "TrafficGraph", "windowSeconds": seconds, "edges": links,
            }));
            return Ok(if links.is_empty() { Exit::No } else { Exit::Yes });
        }
        _ if links.is_empty() => return Err(nothing(empty::why(&list, &Filter { namespace, name: None }))),
        GraphFormat::Text => text(&links),
        GraphFormat::Dot => dot(&links),
        GraphFormat::Mermaid => mermaid(&links),
    };
    lines.iter().for_each(|line| output.data(line));
    Ok(Exit::Yes)
}
