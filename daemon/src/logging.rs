//! Logs: to stderr, as text for people or JSON for machines.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// One line of text an event.
    #[default]
    Text,
    /// One JSON object an event.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is neither `text` nor `json`")),
        }
    }
}

/// Reads a tracing filter, such as `info,outrigger_sidecar=debug`: for settings, so that a bad one is refused with its name.
///
/// # Errors
/// When the syntax is wrong.
pub fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a log filter such as info,outrigger_sidecar=debug: {error}")),
    }
}

/// Starts logging for the whole process. `filter` is a tracing filter such as `info` or `info,outrigger_sidecar=debug`.
///
/// # Errors
/// When the filter cannot be read, or logging was started before.
pub fn init(filter: &str, format: Format) -> Result<(), InitError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| InitError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).try_init()
        }
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|_| InitError::Twice)
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The filter's syntax is wrong.
    #[error("cannot read the log filter `{filter}`")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    /// It runs already.
    #[error("logging was started before")]
    Twice,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_the_process_would_read_it() {
        for good in ["info", "warn,outrigger_sidecar=debug", "outrigger_sidecar", "off", "[conn{peer}]=trace"] {
            assert_eq!(filter(good), Ok(good.to_owned()));
        }
        for bad in ["foo=bar=baz", "a=b", "info,=", "[x"] {
            assert!(filter(bad).is_err_and(|error| error.starts_with("not a log filter")), "{bad}");
        }
    }
}
