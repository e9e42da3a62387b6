//! The page of findings.

use std::fmt::Write as _;

use outrigger_cli::findings;

/// Everything that `outrigger check` can find: a table to find it, and a section each to act on.
pub(crate) fn page() -> String {
    let mut page = format!("{}\n# Checks\n\n{INTRODUCTION}\n\n| Code | Looks at |\n|---|---|\n", crate::GENERATED);
    for finding in findings::ALL {
        let anchor = finding.code.to_lowercase();
        let _ = writeln!(page, "| [{}](#{anchor}) | {} |", finding.code, finding.looks_at);
    }
    for finding in findings::ALL {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n**When it is not well.** {}\n\n**What to do.** {}\n",
            finding.code, finding.looks_at, finding.means, finding.next
        );
    }
    page
}

const INTRODUCTION: &str = "\
`outrigger check` says `ok`, `warn` or `FAIL` of each of these, with a hint. It ends with 1 when one fails, with \
`--fail-on warn` when one warns. `outrigger check --pre` looks at OC020 to OC024 only, before an install. \
`outrigger explain OC031` prints the same text as this page.";
