//! Printing findings.

use outrigger_console::exit::Exit;
use outrigger_console::output::API_VERSION;
use outrigger_console::output::{Format, Output, Stream, Style};
use serde_json::json;

use super::finding::{Category, Level};

/// From which finding on the answer is no.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    #[default]
    Error,
    Warn,
}

/// Prints findings as data; the exit code does not depend on the format.
pub(crate) fn report(categories: &[Category], fail_on: FailOn, format: Format, output: &Output) -> Exit {
    let healthy = healthy(categories, fail_on);
    match format {
        Format::Table => print(categories, Stream::Stdout, output),
        Format::Json => output.json(&json!({
            "apiVersion": API_VERSION,
            "kind": "Check",
            "ok": healthy,
            "categories": categories,
            "warnings": count(categories, Level::Warn),
            "errors": count(categories, Level::Error),
        })),
    }
    if healthy { Exit::Yes } else { Exit::No }
}

/// Whether the answer is yes.
pub(crate) fn healthy(categories: &[Category], fail_on: FailOn) -> bool {
    count(categories, Level::Error) == 0 && (fail_on == FailOn::Error || count(categories, Level::Warn) == 0)
}

/// Prints findings for people.
pub(crate) fn print(categories: &[Category], stream: Stream, output: &Output) {
    for category in categories {
        output.line(stream, &output.paint(stream, Style::Bold, &category.name));
        for check in &category.checks {
            let (style, word) = match check.level {
                Level::Ok => (Style::Good, "ok"),
                Level::Warn => (Style::Warning, "warn"),
                Level::Error => (Style::Bad, "FAIL"),
            };
            let word = output.paint(stream, style, &format!("{word:<4}"));
            let code = if check.level == Level::Ok { String::new() } else { format!("{} ", check.code) };
            output.line(stream, &format!("  {word}  {code}{}", check.message));
            if let Some(hint) = &check.hint {
                output.line(stream, &format!("        hint: {hint}"));
            }
            if let Some(docs) = &check.docs {
                output.line(stream, &output.paint(stream, Style::Dim, &format!("        docs: {docs}")));
            }
        }
    }
    let ok = categories.iter().filter(|category| category.checks.iter().all(|check| check.level == Level::Ok)).count();
    let (warnings, errors) = (count(categories, Level::Warn), count(categories, Level::Error));
    output.line(stream, &format!("{ok} ok categories, {warnings} warnings, {errors} errors"));
}

fn count(categories: &[Category], level: Level) -> usize {
    categories.iter().flat_map(|category| &category.checks).filter(|check| check.level == level).count()
}
