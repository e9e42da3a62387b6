//! Exit codes, the same for every command, and errors that say what to do next.

use std::fmt;
use std::process::ExitCode;

/// What a command's end means, whatever the output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The answer is yes; all is healthy.
    Yes,
    /// The answer is no: a check failed, something was not proved.
    No,
    /// Wrong usage, or it could not be found out.
    Unknown,
    /// It did not happen in time.
    TimedOut,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Yes => 0,
            Exit::No => 1,
            Exit::Unknown => 2,
            Exit::TimedOut => 3,
        })
    }
}

/// An error with a next step. Commands fail with [`Exit::Unknown`] unless it says otherwise.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// How to end.
    pub exit: Exit,
}

impl Failure {
    /// It could not be found out, and this is what to do.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), exit: Exit::Unknown }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
