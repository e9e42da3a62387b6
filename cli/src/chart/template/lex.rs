//! Text and actions, and the tokens of an action.

use super::Fault;

/// A stretch of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Action { line: usize, tokens: Vec<Token> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `if`, `include`, `true`.
    Word(String),
    /// `.a.b`, or `.` alone; empty path.
    Field(Vec<String>),
    /// `$x.a.b`; `$` has an empty name.
    Variable(String, Vec<String>),
    Text(String),
    Number(i64),
    Open,
    Close,
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Comma,
}

/// Takes a template apart; comments are gone, and white space where a marker trims it.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut pieces = Vec::new();
    let (mut rest, mut line, mut trim) = (text, 1, false);
    loop {
        let (before, action) = rest.split_once("{{").map_or((rest, None), |(before, action)| (before, Some(action)));
        let trims_before = action.is_some_and(|action| action.starts_with("- "));
        let mut kept = if trim { before.trim_start_matches(SPACE) } else { before };
        kept = if trims_before { kept.trim_end_matches(SPACE) } else { kept };
        if !kept.is_empty() {
            pieces.push(Piece::Text(kept));
        }
        line += before.matches('\n').count();
        let Some(action) = action else { return Ok(pieces) };
        let action = if trims_before { &action[1..] } else { action };
        let end = end_of_action(action).ok_or_else(|| Fault::new(line, "`{{` without `}}`"))?;
        let inner = &action[..end];
        trim = inner.ends_with(" -");
        let inner = if trim { &inner[..inner.len() - 1] } else { inner };
        let code = inner.trim();
        if !(code.starts_with("/*") && code.ends_with("*/")) {
            pieces.push(Piece::Action { line, tokens: tokens(code).map_err(|message| Fault::new(line, message))? });
        }
        line += inner.matches('\n').count();
        rest = &action[end + 2..];
    }
}

/// The first `}}` outside of text and comments.
fn end_of_action(action: &str) -> Option<usize> {
    let mut from = 0;
    if action.trim_start().starts_with("/*") {
        from = action.find("*/")?;
    }
    let mut quoted = false;
    let bytes = action.as_bytes();
    (from..bytes.len()).find(|&at| {
        if bytes[at] == b'"' && (at == 0 || bytes[at - 1] != b'\\') {
            quoted = !quoted;
        }
        !quoted && bytes[at..].starts_with(b"}}")
    })
}

fn tokens(code: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Assign, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '"' => text(rest)?,
            '.' => {
                let length = rest.find(ends_path).unwrap_or(rest.len());
                (Token::Field(path(&rest[..length])?), length)
            }
            '$' => {
                let length = rest.find(ends_path).unwrap_or(rest.len());
                let (name, fields) = rest[1..length].split_once('.').map_or((&rest[1..length], ""), |split| split);
                let fields = if fields.is_empty() { Vec::new() } else { path(&format!(".{fields}"))? };
                (Token::Variable(name.to_owned(), fields), length)
            }
            '0'..='9' => {
                let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                (
                    Token::Number(rest[..length].parse().map_err(|_| format!("`{}` is too large", &rest[..length]))?),
                    length,
                )
            }
            'a'..='z' | 'A'..='Z' => {
                let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            other => return Err(format!("`{other}` is not understood here")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn text(rest: &str) -> Result<(Token, usize), String> {
    let end = rest[1..].find('"').ok_or("text without an end")?;
    let inner = &rest[1..=end];
    if inner.contains('\\') {
        return Err("escapes in text are not understood here".to_owned());
    }
    Ok((Token::Text(inner.to_owned()), end + 2))
}

fn path(text: &str) -> Result<Vec<String>, String> {
    if text == "." {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text[1..].split('.').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) { Err(format!("`{text}` is not a path")) } else { Ok(names) }
}

fn ends_path(character: char) -> bool {
    !(character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '$'))
}

/// What Go trims.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
