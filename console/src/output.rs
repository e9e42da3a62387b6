//! The only place that prints: data on stdout, everything else on stderr, colours only for a terminal.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

/// Where text goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    stdout_colours: bool,
    stderr_colours: bool,
    quiet: bool,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// For a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `-o` of the commands that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one versioned JSON document.
    Json,
}

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Progress and messages.
    Stderr,
}

/// What colour says; the words say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Proved, healthy.
    Good,
    /// Wrong.
    Bad,
    /// Worth a look.
    Warning,
    /// Beside the point.
    Dim,
    /// A heading.
    Bold,
}

impl Output {
    /// Decides about colours once.
    #[must_use]
    pub fn new(color: Color, quiet: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = |terminal: bool| match color {
            Color::Auto => terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        Self {
            stdout_colours: colours(io::stdout().is_terminal()),
            stderr_colours: colours(io::stderr().is_terminal()),
            quiet,
        }
    }

    /// Prints a line. `--quiet` silences what goes to stderr, errors excepted.
    pub fn line(&self, stream: Stream, text: &str) {
        match stream {
            Stream::Stdout => write(&mut io::stdout().lock(), text),
            Stream::Stderr if self.quiet => {}
            Stream::Stderr => write(&mut io::stderr().lock(), text),
        }
    }

    /// Prints a line of data.
    pub fn data(&self, text: &str) {
        self.line(Stream::Stdout, text);
    }

    /// Prints a value as JSON, the whole output of a command.
    pub fn json(&self, value: &impl Serialize) {
        // Our own documents have string keys only, which is all that can fail.
        self.data(&serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// Prints an error and, apart from it, what to do next.
    pub fn error(&self, message: &str, hint: Option<&str>) {
        let mut stderr = io::stderr().lock();
        write(&mut stderr, &format!("{} {message}", self.paint(Stream::Stderr, Style::Bad, "error:")));
        if let Some(hint) = hint {
            write(&mut stderr, &format!("\n{} {hint}", self.paint(Stream::Stderr, Style::Bold, "hint:")));
        }
    }

    /// Prints a warning.
    pub fn warning(&self, message: &str) {
        let word = self.paint(Stream::Stderr, Style::Warning, "warning:");
        self.line(Stream::Stderr, &format!("{word} {message}"));
    }

    /// Colours a text that will be printed on this stream, if that stream has colours.
    #[must_use]
    pub fn paint(&self, stream: Stream, style: Style, text: &str) -> String {
        let colours = match stream {
            Stream::Stdout => self.stdout_colours,
            Stream::Stderr => self.stderr_colours,
        };
        if !colours {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Bad => "31;1",
            Style::Warning => "33",
            Style::Dim => "2",
            Style::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The version of every JSON document that the commands print.
pub const API_VERSION: &str = "cli.outrigger.io/v1";

/// A reader that went away (`| head`) is no error of ours.
fn write(stream: &mut impl Write, text: &str) {
    let _ = writeln!(stream, "{text}");
    let _ = stream.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_when_asked_or_on_a_terminal() {
        let never = Output::new(Color::Never, false);
        assert_eq!(never.paint(Stream::Stdout, Style::Good, "ok"), "ok");

        let always = Output::new(Color::Always, false);
        assert_eq!(always.paint(Stream::Stdout, Style::Good, "ok"), "\x1b[32mok\x1b[0m");
    }
}
