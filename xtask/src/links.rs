//! Links between the pages: each leads to a file that is there, and to a heading of it. Addresses of other sites are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::step;

/// Checks every page that git knows, or would.
///
/// # Errors
/// Names each link that leads nowhere.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.md"]);
    let names = step::output(&mut list)?;
    let mut pages = BTreeMap::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A page that is deleted and not committed yet is none.
        if let Ok(text) = std::fs::read_to_string(root.join(name)) {
            pages.insert(PathBuf::from(name), text);
        }
    }
    let broken = broken(&pages, |path| root.join(path).exists());
    if !broken.is_empty() {
        bail!("{} links lead nowhere:\n{}", broken.len(), broken.join("\n"));
    }
    Ok(())
}

fn broken(pages: &BTreeMap<PathBuf, String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        pages.iter().map(|(name, text)| (name.as_path(), anchors(text))).collect();
    let mut broken = Vec::new();
    for (name, text) in pages {
        let folder = name.parent().unwrap_or_else(|| Path::new(""));
        for (line, target) in targets(text).into_iter().filter(|(_, target)| !target.contains(':')) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { name.clone() } else { plain(&folder.join(file)) };
            let found = match anchors.get(path.as_path()) {
                Some(anchors) => anchor.is_empty() || anchors.contains(anchor),
                None => exists(&path),
            };
            if !found {
                broken.push(format!("  {}:{line}: {target}", name.display()));
            }
        }
    }
    broken
}

/// Where inline links lead, each with its line. Code is no link.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backquotes is code.
        for piece in line.split('`').step_by(2) {
            targets.extend(piece.split("](").skip(1).filter_map(|rest| Some((number, rest.split_once(')')?.0))));
        }
    }
    targets
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let words = line.trim_start_matches('#');
        if words.len() == line.len() || !words.starts_with(' ') {
            continue;
        }
        let words = words.trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // One that is there already gets a number.
        let numbered = (1..).map(|n| format!("{anchor}-{n}"));
        anchors.extend(std::iter::once(anchor.clone()).chain(numbered).find(|name| !anchors.contains(name)));
    }
    anchors
}

/// Lines, numbered from 1, outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        if line.trim_start().starts_with("```") {
            code = !code;
            return None;
        }
        (!code).then_some((number + 1, line))
    })
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken_in(text: &str) -> Vec<String> {
        let pages = [("docs/a.md", text), ("b.md", "# Other things: `one` & two\n# Same\n# Same\n```\n# Code\n```\n")];
        let pages = pages.map(|(name, text)| (PathBuf::from(name), text.to_owned())).into();
        broken(&pages, |path| path == Path::new("docs/dir"))
    }

    #[test]
    fn finds_links_to_files_and_headings_that_are_not_there() {
        assert_eq!(
            broken_in("[a](../b.md) [b](dir) [c](#here) [`d`](../b.md#same-1)\n## Here\n"),
            Vec::<String>::new()
        );
        assert_eq!(broken_in("[a](../b.md#other-things-one--two) [b](https://example.com/#x)"), Vec::<String>::new());
        assert_eq!(
            broken_in("x\n[a](b.md) [b](#there) [c](../b.md#code)"),
            ["  docs/a.md:2: b.md", "  docs/a.md:2: #there", "  docs/a.md:2: ../b.md#code"]
        );
    }

    #[test]
    fn code_has_no_links() {
        assert_eq!(broken_in("`[a](nowhere)` and\n```\n[a](nowhere)\n```\n"), Vec::<String>::new());
    }
}
