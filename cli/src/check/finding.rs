//! What a check says.

use serde::Serialize;

use crate::findings;

/// Findings about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Category {
    pub(crate) name: String,
    pub(crate) checks: Vec<Check>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Stable: `OC001`.
    pub(crate) code: &'static str,
    pub(crate) level: Level,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// Where more about it is written, when it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) docs: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    Warn,
    Error,
}

impl Category {
    pub(crate) fn new(name: impl Into<String>, checks: Vec<Check>) -> Self {
        Self { name: name.into(), checks }
    }
}

pub(crate) fn ok(code: &'static str, message: impl Into<String>) -> Check {
    Check { code, level: Level::Ok, message: message.into(), hint: None, docs: None }
}

pub(crate) fn warn(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Check {
    unwell(code, Level::Warn, message.into(), hint.into())
}

pub(crate) fn error(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Check {
    unwell(code, Level::Error, message.into(), hint.into())
}

fn unwell(code: &'static str, level: Level, message: String, hint: String) -> Check {
    // What others said may have line breaks; a finding is one line.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Check { code, level, message, hint: Some(hint), docs: Some(findings::docs(code)) }
}
