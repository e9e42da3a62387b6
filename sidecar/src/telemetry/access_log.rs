//! The access log: one line a request, and one a copied connection at its end, on standard output, as JSON or text, for the requests that were asked for.
//!
//! Lines are joined in a bounded buffer that a thread of its own writes out: a reader that does not keep up costs
//! lines, which are counted, and never a request's time. No query strings, no headers.

mod line;
mod writer;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(crate) use line::{ConnectionEntry, CopiedEntry, Entry};

use line::Line;
use writer::Writer;

/// Writes lines about requests.
#[derive(Debug)]
pub(crate) struct AccessLog {
    which: Which,
    format: Format,
    seen: AtomicU32,
    writer: Option<Writer>,
}

impl AccessLog {
    /// Makes a log on standard output.
    ///
    /// # Errors
    /// When its thread cannot start.
    pub(crate) fn new(which: Which, format: Format) -> std::io::Result<Self> {
        Self::to(std::io::stdout(), which, format)
    }

    fn to(output: impl std::io::Write + Send + 'static, which: Which, format: Format) -> std::io::Result<Self> {
        let writer = if which == Which::Off { None } else { Some(Writer::start(output)?) };
        Ok(Self { which, format, seen: AtomicU32::new(0), writer })
    }

    /// Says whether a request is to be written, before anybody collects what to write.
    pub(crate) fn wants(&self, failed: bool) -> bool {
        match self.which {
            Which::Off => false,
            Which::Errors => failed,
            Which::All => true,
            Which::Sample(n) => self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(n.get()),
        }
    }

    /// Writes a line, or drops it when the reader is behind.
    pub(crate) fn write(&self, entry: &impl Line) {
        if let Some(writer) = &self.writer {
            writer.write(|line| match self.format {
                Format::Json => entry.write_json(line),
                Format::Text => entry.write_text(line),
            });
        }
    }

    /// Returns how many lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::dropped)
    }

    /// Waits until all is written, or for `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        if let Some(writer) = &self.writer {
            writer.flush(limit);
        }
    }
}

/// Which requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Off,
    /// Those that failed.
    Errors,
    All,
    /// One in so many, failed or not.
    Sample(NonZeroU32),
}

impl FromStr for Which {
    type Err = SettingError;

    fn from_str(s: &str) -> Result<Self, SettingError> {
        match s {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::All),
            other => {
                let sample = other.strip_prefix("sample:").and_then(|n| n.parse().ok());
                let wanted = "off, errors, all or sample:N with N of at least 1";
                sample.map(Self::Sample).ok_or_else(|| SettingError { text: other.to_owned(), wanted })
            }
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
}

impl FromStr for Format {
    type Err = SettingError;

    fn from_str(s: &str) -> Result<Self, SettingError> {
        match s {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(SettingError { text: other.to_owned(), wanted: "json or text" }),
        }
    }
}

/// A setting that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingError {
    text: String,
    wanted: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.text, self.wanted)
    }
}

impl std::error::Error for SettingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_and_refuses_the_rest() {
        assert_eq!("off".parse(), Ok(Which::Off));
        assert_eq!("errors".parse(), Ok(Which::Errors));
        assert_eq!("all".parse(), Ok(Which::All));
        assert_eq!("sample:100".parse(), Ok(Which::Sample(NonZeroU32::new(100).unwrap())));
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("text".parse(), Ok(Format::Text));
        for text in ["", "sample", "sample:", "sample:0", "sample:-1", "ALL"] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
        assert!("xml".parse::<Format>().is_err());
    }

    #[test]
    fn writes_the_requests_that_were_asked_for() {
        for (which, failed, want) in
            [("off", true, 0), ("errors", true, 10), ("errors", false, 0), ("all", false, 10), ("sample:4", true, 3)]
        {
            let log = AccessLog::to(std::io::sink(), which.parse().unwrap(), Format::Json).unwrap();
            let wanted = (0..10).filter(|_| log.wants(failed)).count();
            assert_eq!(wanted, want, "{which}");
        }
    }
}
