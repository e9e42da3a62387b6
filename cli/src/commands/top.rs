//! `outrigger top`: what `outrigger stat` shows, as it happens, the busiest first.

use std::io::IsTerminal as _;
use std::time::Duration;

use outrigger_console::exit::Exit;
use outrigger_console::output::{Output, Stream, Style};

use crate::traffic::edges::EdgeList;
use crate::traffic::empty;
use crate::traffic::rows::{By, Filter, rows};
use crate::traffic::source::{NamespaceFlags, SourceFlags, Window};
use crate::traffic::table::table;

/// `outrigger top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A row for each of these.
    #[arg(value_enum, default_value_t)]
    kind: By,
    /// Only the workload, Service or route of this name.
    name: Option<String>,
    #[command(flatten)]
    namespace: NamespaceFlags,
    /// Ends after so many tables; without it, at Ctrl-C.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u32>,
    #[command(flatten)]
    source: SourceFlags,
}

/// Exit 0: it was ended, or has shown as many tables as it should; 2: it could not be found out.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let source = args.source.find().await?;
    let filter = Filter { namespace: args.namespace.find(&source).await?, name: args.name.clone() };
    let redraws = std::io::stdout().is_terminal();
    let mut shown = 0;
    loop {
        let list = tokio::select! {
            list = source.read(Window::Short) => list?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Yes),
        };
        let mut text = screen(&list, args.kind, &filter, output);
        if redraws {
            // Home, then each line to its end, then all below.
            text = format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"));
        }
        output.data(&text);
        shown += 1;
        if args.count.is_some_and(|count| shown >= count) {
            return Ok(Exit::Yes);
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Yes),
        }
    }
}

fn screen(list: &EdgeList, by: By, filter: &Filter, output: &Output) -> String {
    let mut rows = rows(list, by, filter);
    rows.sort_by(|one, other| other.requests_per_second.total_cmp(&one.requests_per_second));
    let sidecars = &list.sidecars;
    let heading =
        format!("last {:.0} s, {} of {} sidecars report", list.window_seconds, sidecars.reporting, sidecars.connected);
    let mut lines = vec![output.paint(Stream::Stdout, Style::Dim, &heading)];
    if rows.is_empty() {
        let (message, hint) = empty::why(list, filter);
        lines.extend([message, format!("hint: {hint}")]);
    }
    lines.extend(table(&rows, by, false));
    lines.push(String::new());
    lines.join("\n")
}

/// As often as sidecars report.
const REFRESH: Duration = Duration::from_secs(2);
