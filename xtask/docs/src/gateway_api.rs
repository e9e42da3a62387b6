//! The page of the Gateway API: each field of the route kinds, whether it is supported, and the test that proves it.

mod fields;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use fields::FIELDS;

/// A table for each kind. Fails on a test that is not there.
pub(crate) fn page() -> Result<String> {
    let mut page = format!("{}\n{INTRODUCTION}", crate::GENERATED);
    for (letter, kind) in KINDS {
        let _ = write!(page, "\n## {kind}\n\n| Field | Supported | Since | Test |\n|---|---|---|---|\n");
        for row in FIELDS.lines().filter(|line| !line.is_empty()) {
            let [kinds, field, supported, since, test] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                bail!("not `kinds | field | supported | since | test`: {row}");
            };
            if kinds.contains(letter) {
                let test = link(test).with_context(|| format!("the test of {kind} {field}"))?;
                let _ = writeln!(page, "| `{field}` | {supported} | {since} | {test} |");
            }
        }
    }
    Ok(page)
}

/// A link to a test that exists.
fn link(test: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (file, found, name) = match test.split_once("::") {
        Some((file, name)) => (file, format!("fn {name}()"), name),
        None => (TABLES, format!("    {test},"), test),
    };
    let text = std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
    if !text.lines().any(|line| line.starts_with(&found)) {
        bail!("{file} has no test `{name}`");
    }
    Ok(format!("[{name}](../../{file})"))
}

const KINDS: [(char, &str); 4] = [('H', "HTTPRoute"), ('G', "GRPCRoute"), ('T', "TLSRoute"), ('C', "TCPRoute")];

/// Where the tables are run in namespaces.
const TABLES: &str = "tests/tests/netns/gateway.rs";

const INTRODUCTION: &str = "
# Gateway API

What routes of the [Gateway API](https://gateway-api.sigs.k8s.io) mean that have a Service as their parent: every field of the standard
channel of v1.7.0. A row is for all that is in its field. Tests of one word are tables of [`tests/src/gateway`](../../tests/src/gateway.rs),
one line a case, and run in network namespaces and in a cluster.

A field that is not supported never goes unnoticed: the requests of its rule get an error, and the route's status names it.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tests_that_exist_only() {
        assert!(link("paths").unwrap().contains("[paths]"));
        assert!(link("tests/tests/netns/routing.rs::rules_match_by_path_header_query_and_method").is_ok());
        assert!(link("pathz").unwrap_err().to_string().contains("pathz"));
        assert!(link("tests/tests/netns/routing.rs::nothing").is_err());
    }
}
