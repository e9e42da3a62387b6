//! Pages of the documentation as tests: the commands that they show, and what they say that those print.
//!
//! Commands are the lines with `$ ` of ```` ```console ```` blocks, and go on after a `\` at the end of a line; up to the next one follows what is printed, where
//! `…` stands for any text, and for any lines when it is alone. `<!-- $ command -->` is run and not shown.

use std::path::Path;

/// A command of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The page and the line, for whoever has to mend it.
    pub place: String,
    /// For bash.
    pub command: String,
    /// What it prints; nothing: the page does not say.
    pub shown: Vec<String>,
}

/// Reads a page, by its path from the root of the repository.
///
/// # Panics
/// When there is no such page, or nothing to run in it.
#[must_use]
pub fn read(path: &str) -> Vec<Step> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let steps = parse(path, &text);
    assert!(!steps.is_empty(), "{path} has no command");
    steps
}

/// Finds the commands of a page.
#[must_use]
pub fn parse(path: &str, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut goes_on = false;
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{path}:{}", number + 1);
        if line.trim_start().starts_with("```") {
            inside = !inside && line.trim() == "```console";
            continue;
        }
        if let Some(hidden) = line.strip_prefix("<!-- $ ").and_then(|rest| rest.strip_suffix(" -->")) {
            steps.push(Step { place: place(), command: hidden.to_owned(), shown: Vec::new() });
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            goes_on = command.ends_with('\\');
            steps.push(Step { place: place(), command: command.to_owned(), shown: Vec::new() });
        } else if inside && let Some(step) = steps.last_mut() {
            if goes_on {
                goes_on = line.ends_with('\\');
                step.command = format!("{}\n{line}", step.command);
            } else {
                step.shown.push(line.trim_end().to_owned());
            }
        }
    }
    steps
}

impl Step {
    /// Whether this is what the page shows.
    #[must_use]
    pub fn shows(&self, printed: &str) -> bool {
        let printed: Vec<String> = printed.lines().map(narrow).collect();
        let shown: Vec<String> = self.shown.iter().map(|line| narrow(line)).collect();
        shown.is_empty() || lines(&shown, &printed)
    }

    /// Whether the page has words for what is printed: only then may the command fail.
    #[must_use]
    pub fn has_words(&self) -> bool {
        self.shown.iter().any(|line| line.trim() != "…")
    }
}

/// How wide a column is depends on what is in it: spaces count as one.
fn narrow(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lines(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "…" => (0..=printed.len()).any(|skipped| lines(rest, &printed[skipped..])),
        ([first, shown @ ..], [line, printed @ ..]) => like(first, line) && lines(shown, printed),
        _ => false,
    }
}

fn like(shown: &str, line: &str) -> bool {
    let Some((before, rest)) = shown.split_once('…') else { return shown == line };
    let Some(mut line) = line.strip_prefix(before) else { return false };
    let mut parts: Vec<&str> = rest.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
    }
    line.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n```\n$ not a command\n```\n\n```console\n$ kubectl get \\\n    pods\nNAME\nweb-…\n$ true\n```\n\n<!-- $ hidden -->\n";

    fn step(shown: &[&str]) -> Step {
        let shown = shown.iter().map(|line| (*line).to_owned()).collect();
        Step { place: "p:1".into(), command: "c".into(), shown }
    }

    #[test]
    fn finds_commands_and_what_they_print() {
        let steps = parse("p.md", PAGE);
        let commands: Vec<&str> = steps.iter().map(|step| step.command.as_str()).collect();
        assert_eq!(commands, ["kubectl get \\\n    pods", "true", "hidden"]);
        assert_eq!(steps[0].shown, ["NAME", "web-…"]);
        assert_eq!((steps[1].place.as_str(), steps[1].shown.len()), ("p.md:12", 0));
    }

    #[test]
    fn an_ellipsis_stands_for_any_text_or_any_lines() {
        assert!(step(&["web-…  2/2  …"]).shows("web-1a2b  2/2  Running\n"));
        assert!(!step(&["web-…  2/2  …"]).shows("web-1a2b  1/2  Running\n"));
        assert!(step(&["NAME   AGE", "web-…   …"]).shows("NAME       AGE\nweb-12345  3s"));
        assert!(step(&["a", "…", "d"]).shows("a\nb\nc\nd") && step(&["a", "…", "d"]).shows("a\nd"));
        assert!(!step(&["a", "…", "d"]).shows("a\nb"));
        assert!(!step(&["a"]).shows("a\nb") && !step(&["a", "b"]).shows("a"));
        assert!(step(&[]).shows("whatever"));
        assert!(!step(&["…bc…cd"]).shows("abcd"), "no part is used twice");
    }
}
