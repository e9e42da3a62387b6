//! Words that readers stumble over on pages for users: each has a plainer term in the glossary or in the sentence itself.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step;

/// Pages for users. Others, such as decisions and the architecture, are for developers.
const PAGES: [&str; 5] =
    ["README.md", "docs/quickstart.md", "docs/tasks/*.md", "docs/reference/*.md", "deploy/charts/*/README.md"];

/// A phrase, and what to write in its place.
const PHRASES: [(&str, &str); 12] = [
    ("nobody", "no client, no component, or name it"),
    ("somebody", "a user, an administrator, another client"),
    ("anybody", "any client, any user"),
    ("whoever", "the user, the client"),
    ("anew", "again; of objects: recreated"),
    ("mend", "fix"),
    ("by itself", "automatically, independently"),
    ("by themselves", "automatically, independently"),
    ("on purpose", "injected, deliberately"),
    ("without a word", "silently"),
    ("is told", "receives, is notified"),
    ("knows nothing of", "is unaware of"),
];

/// Looks for the phrases on the pages, outside of code.
///
/// # Errors
/// Names each place, and what to write.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"]).args(PAGES);
    let names = step::output(&mut list)?;
    let mut found = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // A page that is deleted and not committed yet is none.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        found.extend(
            phrases(&text).into_iter().map(|(line, said, better)| format!("  {name}:{line}: \"{said}\": {better}")),
        );
    }
    if !found.is_empty() {
        bail!("pages for users have words that the glossary replaces:\n{}", found.join("\n"));
    }
    Ok(())
}

/// The phrases in a page, each with its line and what to write.
fn phrases(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        if is_code {
            continue;
        }
        // Every second piece between backquotes is code.
        let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("`").to_lowercase();
        for (phrase, better) in PHRASES {
            let is_whole = |(at, _): &(usize, &str)| {
                let around = [prose[..*at].chars().next_back(), prose[at + phrase.len()..].chars().next()];
                around.iter().flatten().all(|c| !c.is_alphanumeric())
            };
            if prose.match_indices(phrase).any(|place| is_whole(&place)) {
                found.push((index + 1, phrase, better));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found_as_whole_words_and_not_in_code() {
        let page = "Nobody knows.\nrecommend, amended\n```console\nnobody\n```\n`nobody` said, and *mend* it\n";
        let found: Vec<_> = phrases(page).into_iter().map(|(line, said, _)| (line, said)).collect();
        assert_eq!(found, [(1, "nobody"), (6, "mend")]);
    }
}
