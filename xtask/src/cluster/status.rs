//! `cargo xtask cluster status`: each part, its pid, whether it is ready.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Result, bail};
use serde_json::json;

use super::part::Part;
use super::places::{Places, require_root};
use super::{kubectl, up};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

#[derive(Debug)]
struct Row {
    part: &'static str,
    pid: Option<u32>,
    ready: bool,
}

/// Prints the parts.
///
/// # Errors
/// When one is not ready.
pub(super) fn run(places: &Places, args: &Args) -> Result<()> {
    require_root()?;
    let rows = rows(places);
    let text = if args.output == "json" { json_text(places, &rows) } else { table(places, &rows) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let missing: Vec<&str> = rows.iter().filter(|row| !row.ready).map(|row| row.part).collect();
    if !missing.is_empty() {
        bail!("not ready: {}; `cargo xtask cluster up` starts what does not run", missing.join(", "));
    }
    Ok(())
}

fn rows(places: &Places) -> Vec<Row> {
    let parts = up::parts(places);
    let mut rows: Vec<Row> = parts
        .iter()
        .map(|part| {
            let pid = part.pid(places);
            Row { part: part.name(), pid, ready: pid.is_some() && part.ready(places) }
        })
        .collect();
    if !parts.contains(&Part::Kubelet) {
        return rows;
    }
    let serves = rows.iter().any(|row| row.part == Part::ApiServer.name() && row.ready);
    let node = serves && kubectl::ask(places, up::NODE_READY) == "True";
    rows.push(Row { part: "node", pid: None, ready: node });
    let dns = node && kubectl::ask(places, up::DNS_READY).parse().is_ok_and(|ready: u32| ready > 0);
    rows.push(Row { part: "dns", pid: None, ready: dns });
    rows
}

fn table(places: &Places, rows: &[Row]) -> String {
    let mut text = format!("{:<24} {:>8} READY\n", "PART", "PID");
    for row in rows {
        let pid = row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let _ = writeln!(text, "{:<24} {pid:>8} {}", row.part, if row.ready { "yes" } else { "no" });
    }
    let _ = writeln!(text, "\nKUBECONFIG={}", places.kubeconfig().display());
    text
}

fn json_text(places: &Places, rows: &[Row]) -> String {
    let parts: Vec<_> =
        rows.iter().map(|row| json!({ "part": row.part, "pid": row.pid, "ready": row.ready })).collect();
    let ready = rows.iter().all(|row| row.ready);
    format!("{:#}\n", json!({ "ready": ready, "kubeconfig": places.kubeconfig(), "parts": parts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_part_is_not_ready() {
        let places = Places::new().unwrap();
        let rows = [Row { part: "etcd", pid: Some(12), ready: true }, Row { part: "kubelet", pid: None, ready: false }];

        assert!(table(&places, &rows).contains("etcd                           12 yes\n"));
        assert!(table(&places, &rows).contains("kubelet                         - no\n"));
        let json: serde_json::Value = serde_json::from_str(&json_text(&places, &rows)).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(json["parts"][0]["pid"], 12);
    }
}
