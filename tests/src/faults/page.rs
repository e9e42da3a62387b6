//! docs/reliability.md, made of the table.

use std::fmt::Write as _;

use super::{Fault, PATIENCE, Row, TABLE, When};

const INTRO: &str = "# Reliability

What a failure of a part costs the users of a service, and for how long. The fault soak (`cargo xtask soak`) checks this table: it runs two replicas
of the control plane and twelve workloads in network namespaces, sends numbered messages whether earlier ones were answered or not, and breaks one part
after another. Every message that fails must match a fault that was in effect and a row of the table; no request may be processed twice. The table has
what a failure costs without a mesh as well: for example, nothing can answer a request that was in flight at an application that was killed.

This page is made of `tests/src/faults/table.rs` and `tests/src/faults/figures.md`.
";

const AFTER: &str = "
- \"No answer\" means that the client gave up: the clients of the soak wait PATIENCE seconds. A shorter fault delays messages and fails none.
- \"Rare\" means at most SHARE % of the requests, streams and connections to the service that begin later than two seconds after the fault. Messages on
  a stream that was open at the pod wait with it.
- The codes are those of the [error table](reference/errors.md).
- Certificates live for one minute in the soak, so that every sidecar renews its certificate again and again, under all of these faults.
";

const FIGURES: &str = include_str!("figures.md");

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut text = INTRO.to_owned();
    text.push_str("\n| Fault | How the soak causes it | Messages | What clients see | Code | For how long |\n|---|---|---|---|---|---|\n");
    for fault in Fault::ALL {
        let rows: Vec<&Row> = TABLE.iter().filter(|row| row.fault == *fault).collect();
        if rows.is_empty() {
            let _ = writeln!(text, "| {} | {} | none | nothing | | |", fault.name(), fault.how());
        }
        for row in rows {
            let kinds: Vec<_> = row.messages.iter().map(|kind| kind.name()).collect();
            let kinds = if kinds.len() == super::Kind::ALL.len() { "all".to_owned() } else { kinds.join(", ") };
            let (name, how, codes) = (fault.name(), fault.how(), row.codes.join(", "));
            let _ = writeln!(text, "| {name} | {how} | {kinds} | {} | {codes} | {} |", row.seen, how_long(row.when));
        }
    }
    let share = TABLE.iter().find_map(|row| match row.when {
        When::During(_, share) => share,
        When::InFlight(_) => None,
    });
    let share = format!("{}", (share.unwrap_or_default() * 1000.0).round() / 10.0);
    text.push_str(&AFTER.replace("PATIENCE", &PATIENCE.as_secs().to_string()).replace("SHARE", &share));
    text.push('\n');
    text.push_str(FIGURES);
    text
}

fn how_long(when: When) -> String {
    let after = |seconds: f64| if seconds > 0.0 { format!(" and {seconds} s more") } else { String::new() };
    match when {
        When::InFlight(seconds) => format!("messages in flight when it happens, within {seconds} s"),
        When::During(seconds, None) => format!("while it lasts{}", after(seconds)),
        When::During(seconds, Some(_)) => {
            format!("messages sent in its first two seconds; rare while it lasts{}", after(seconds))
        }
    }
}
