//! The part of Go's template language, and of Helm's functions, that our charts use.
//!
//! Actions: `{{ pipeline }}`, `$x := …`, `$x = …`, `if`, `else if`, `else`, `range`, `define`, `end`, comments, and the trim markers
//! `{{-` and `-}}`. `functions` has the functions. Anything else is an error that names file and line.

mod eval;
mod functions;
mod lex;
mod parse;

use std::collections::BTreeMap;

use serde_json::Value;

use self::parse::Block;

/// Parsed templates; each file is one, and so is each `define`.
#[derive(Debug, Default)]
pub struct Templates {
    by_name: BTreeMap<String, Block>,
}

/// What is wrong with a template, and where.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct TemplateError {
    file: String,
    line: usize,
    message: String,
}

impl Templates {
    /// Parses a file.
    ///
    /// # Errors
    /// When it is faulty, or uses what is not known here.
    pub fn add(&mut self, path: &str, text: &str) -> Result<(), TemplateError> {
        let parsed = lex::pieces(text).and_then(parse::file);
        let (block, defined) =
            parsed.map_err(|Fault { line, message }| TemplateError { file: path.to_owned(), line, message })?;
        self.by_name.insert(path.to_owned(), block);
        self.by_name.extend(defined);
        Ok(())
    }

    /// Renders a file with `.` being this value.
    ///
    /// # Errors
    /// When a template asks for what is not there.
    pub fn render(&self, path: &str, context: &Value) -> Result<String, TemplateError> {
        eval::render(self, path, context).map_err(|Fault { line, message }| TemplateError {
            file: path.to_owned(),
            line,
            message,
        })
    }
}

/// What is wrong, before the file's name is known.
#[derive(Debug)]
struct Fault {
    line: usize,
    message: String,
}

impl Fault {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

#[cfg(test)]
mod tests;
