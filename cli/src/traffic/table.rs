//! Rows as a table.

use super::rows::{By, Row};

/// Returns the lines of a table, the heading first. Without rows there is none.
pub(crate) fn table(rows: &[Row], by: By, wide: bool) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut heading = vec!["NAMESPACE"];
    heading.extend(match by {
        By::Workload => &["WORKLOAD", "TRAFFIC"][..],
        By::Service => &["SERVICE"],
        By::Route => &["RULE"],
        By::Backend => &["RULE", "BACKEND"],
    });
    heading.extend(["SUCCESS", "BEFORE RETRIES", "RPS", "P50", "P95", "P99", "MTLS", "OPEN CONNS"]);
    if wide {
        heading.extend(["ABANDONED", "SLOW", "IN FLIGHT", "OPENED", "NOT OPENED", "SENT", "RECEIVED"]);
    }
    let mut lines = vec![heading.into_iter().map(str::to_owned).collect()];
    lines.extend(rows.iter().map(|row| cells(row, wide)));
    aligned(&lines)
}

fn cells(row: &Row, wide: bool) -> Vec<String> {
    let name = &row.name;
    let mut cells = vec![name.namespace.clone(), name.name.clone()];
    cells.extend(name.direction.map(str::to_owned));
    cells.extend(name.backend.clone());
    cells.extend([
        percent(row.success),
        percent(row.success_before_retries),
        format!("{:.1}", row.requests_per_second),
        time(row.p50_ms),
        time(row.p95_ms),
        time(row.p99_ms),
        percent(row.mutual_tls),
        row.open_connections.to_string(),
    ]);
    if wide {
        cells.extend([
            row.requests.abandoned.to_string(),
            row.requests.slow.to_string(),
            row.in_flight.to_string(),
            row.opened_connections.to_string(),
            row.failed_connections.to_string(),
            bytes(row.sent_bytes),
            bytes(row.received_bytes),
        ]);
    }
    cells
}

/// Columns three spaces apart, as kubectl has them.
fn aligned(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    lines.iter().map(line).collect()
}

/// A share. What is not all never reads as all.
pub(super) fn percent(share: Option<f64>) -> String {
    let Some(share) = share else { return "-".to_owned() };
    let percent = if share < 1.0 { (share * 1e4).floor() / 1e2 } else { 100.0 };
    format!("{percent:.2}%")
}

fn time(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 1.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.1}s", ms / 1e3),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes}B"),
        1_024..1_048_576 => format!("{:.1}KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1}MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1}GiB", bytes as f64 / 1_073_741_824.0),
    }
}
