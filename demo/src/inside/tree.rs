//! A trace as a tree of text, with a bar for when each span was open.

use super::spans::{Side, Span};

/// Draws a trace, one line a span, children under their parents.
pub(super) fn draw(trace: &[Span]) -> Vec<String> {
    let start = trace.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let end = trace.iter().map(|span| span.end_ns).max().unwrap_or(0).max(start + 1);
    let mut rows = Vec::new();
    for root in roots(trace) {
        rows_under(trace, root, String::new(), "", &mut rows);
    }
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(label, span)| format!("{label:<width$}  {}", bar(span, start, end))).collect()
}

/// Spans whose parent is not here, earliest first.
pub(super) fn roots(trace: &[Span]) -> Vec<&Span> {
    let is_root = |span: &&Span| !trace.iter().any(|other| other.id == span.parent);
    let mut roots: Vec<&Span> = trace.iter().filter(is_root).collect();
    roots.sort_by_key(|span| span.start_ns);
    roots
}

fn rows_under<'a>(trace: &'a [Span], span: &'a Span, indent: String, branch: &str, rows: &mut Vec<(String, &'a Span)>) {
    let side = match span.side {
        Side::Client => "client",
        Side::Server => "server",
        Side::Other => "",
    };
    let error = if span.error { " ERROR" } else { "" };
    rows.push((format!("{indent}{branch}{} {side}  {}{error}", span.service, span.name), span));
    // Deeper than any trace of the demo: a span that is its own ancestor must not be drawn for ever.
    if rows.len() >= MAX_ROWS {
        return;
    }
    let mut children: Vec<&Span> =
        trace.iter().filter(|child| child.parent == span.id && child.id != span.id).collect();
    children.sort_by_key(|child| child.start_ns);
    let deeper = match branch {
        "" => indent,
        "└─ " => indent + "   ",
        _ => indent + "│  ",
    };
    for (number, child) in children.iter().enumerate() {
        let branch = if number + 1 == children.len() { "└─ " } else { "├─ " };
        rows_under(trace, child, deeper.clone(), branch, rows);
    }
}

fn bar(span: &Span, start: u64, end: u64) -> String {
    let cell = |ns: u64| usize::try_from((ns - start) * BAR as u64 / (end - start)).unwrap_or(BAR).min(BAR);
    let (from, to) = (cell(span.start_ns), cell(span.end_ns));
    let to = to.max(from + 1).min(BAR);
    let from = from.min(to - 1);
    let line = format!("{}{}{}", " ".repeat(from), "━".repeat(to - from), " ".repeat(BAR - to));
    format!("{line} {}", duration(span.end_ns.saturating_sub(span.start_ns)))
}

fn duration(ns: u64) -> String {
    format!("{}.{:02} ms", ns / 1_000_000, ns % 1_000_000 / 10_000)
}

/// Cells of the bar.
const BAR: usize = 24;
const MAX_ROWS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::spans::tests::span;
    use super::*;

    #[test]
    fn draws_children_under_their_parents_with_their_time() {
        let mut root = span("t", "1", "", "load", Side::Client);
        root.end_ns = 12_000_000;
        let mut server = span("t", "2", "1", "web", Side::Server);
        (server.start_ns, server.end_ns) = (3_000_000, 9_000_000);
        let mut first = span("t", "3", "2", "web", Side::Client);
        (first.start_ns, first.end_ns, first.error) = (4_000_000, 5_000_000, true);
        let mut second = span("t", "4", "2", "web", Side::Client);
        (second.start_ns, second.end_ns) = (6_000_000, 8_000_000);

        let drawn = draw(&[second, root, first, server]);

        assert_eq!(
            drawn,
            [
                "load client  GET             ━━━━━━━━━━━━━━━━━━━━━━━━ 12.00 ms",
                "└─ web server  GET                 ━━━━━━━━━━━━       6.00 ms",
                "   ├─ web client  GET ERROR          ━━               1.00 ms",
                "   └─ web client  GET                    ━━━━         2.00 ms",
            ]
        );
    }

    #[test]
    fn a_span_that_is_its_own_ancestor_does_not_hang() {
        let a = span("t", "1", "2", "a", Side::Client);
        let b = span("t", "2", "1", "b", Side::Server);
        let lone = span("t", "3", "", "c", Side::Client);
        assert_eq!(draw(&[a, b, lone]).len(), 1);
    }
}
