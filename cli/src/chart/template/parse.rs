//! From pieces to blocks.

use std::collections::BTreeMap;

use super::Fault;
use super::lex::{Piece, Token};

/// What is rendered one after the other.
pub(super) type Block = Vec<Node>;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print {
        line: usize,
        pipeline: Pipeline,
    },
    /// `$x := …` (declares) or `$x = …`.
    Set {
        line: usize,
        name: String,
        declares: bool,
        pipeline: Pipeline,
    },
    /// The first branch whose condition holds.
    If {
        branches: Vec<(usize, Pipeline, Block)>,
        otherwise: Block,
    },
    Range {
        line: usize,
        pipeline: Pipeline,
        body: Block,
        otherwise: Block,
    },
}

/// Commands, each of which is the last argument of the next.
pub(super) type Pipeline = Vec<Command>;

#[derive(Debug)]
pub(super) enum Command {
    Value(Operand),
    Call { function: String, arguments: Vec<Operand> },
}

#[derive(Debug)]
pub(super) enum Operand {
    /// Of `.`.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Literal(serde_json::Value),
    Pipeline(Pipeline),
}

/// A file's own block, and what it defines.
pub(super) fn file(pieces: Vec<Piece<'_>>) -> Result<(Block, BTreeMap<String, Block>), Fault> {
    let mut parser = Parser { pieces: pieces.into_iter(), defined: BTreeMap::new() };
    let (block, end) = parser.block()?;
    match end {
        None => Ok((block, parser.defined)),
        Some(End { line, .. }) => Err(Fault::new(line, "`end` or `else` without a beginning")),
    }
}

struct Parser<I> {
    pieces: I,
    defined: BTreeMap<String, Block>,
}

/// What ended a block: `end`, `else`, or `else if …`.
struct End {
    line: usize,
    otherwise: Option<Vec<Token>>,
}

impl<'a, I: Iterator<Item = Piece<'a>>> Parser<I> {
    /// Reads up to an `end`, an `else`, or the end of the file.
    fn block(&mut self) -> Result<(Block, Option<End>), Fault> {
        let mut block = Block::new();
        while let Some(piece) = self.pieces.next() {
            let (line, tokens) = match piece {
                Piece::Text(text) => {
                    block.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            let word = if let Some(Token::Word(word)) = tokens.first() { word.as_str() } else { "" };
            match word {
                "end" => return Ok((block, Some(End { line, otherwise: None }))),
                "else" => return Ok((block, Some(End { line, otherwise: Some(tokens[1..].to_vec()) }))),
                "if" => block.push(self.if_block(line, &tokens[1..])?),
                "range" => block.push(self.range(line, &tokens[1..])?),
                "define" => self.define(line, &tokens[1..])?,
                "with" | "template" | "block" | "break" | "continue" => {
                    return Err(Fault::new(line, format!("`{word}` is not understood here")));
                }
                _ => block.push(action(line, &tokens).map_err(|message| Fault::new(line, message))?),
            }
        }
        Ok((block, None))
    }

    fn if_block(&mut self, line: usize, condition: &[Token]) -> Result<Node, Fault> {
        let mut branches = Vec::new();
        let (mut line, mut condition) = (line, condition.to_vec());
        loop {
            let parsed = pipeline(&condition).map_err(|message| Fault::new(line, message))?;
            let (body, end) = self.inner(line)?;
            branches.push((line, parsed, body));
            match end.otherwise {
                None => return Ok(Node::If { branches, otherwise: Block::new() }),
                Some(tokens) if tokens.is_empty() => {
                    return Ok(Node::If { branches, otherwise: self.last(line)? });
                }
                Some(tokens) if tokens[0] == Token::Word("if".into()) => {
                    (line, condition) = (end.line, tokens[1..].to_vec());
                }
                Some(_) => return Err(Fault::new(end.line, "only `else` and `else if` are understood here")),
            }
        }
    }

    fn range(&mut self, line: usize, tokens: &[Token]) -> Result<Node, Fault> {
        let pipeline = pipeline(tokens).map_err(|message| Fault::new(line, message))?;
        let (body, end) = self.inner(line)?;
        let otherwise = if end.otherwise.is_some() { self.last(line)? } else { Block::new() };
        Ok(Node::Range { line, pipeline, body, otherwise })
    }

    fn define(&mut self, line: usize, tokens: &[Token]) -> Result<(), Fault> {
        let [Token::Text(name)] = tokens else { return Err(Fault::new(line, "`define` takes one name")) };
        let body = self.last(line)?;
        self.defined.insert(name.clone(), body);
        Ok(())
    }

    /// A block that something must end.
    fn inner(&mut self, line: usize) -> Result<(Block, End), Fault> {
        let (block, end) = self.block()?;
        Ok((block, end.ok_or_else(|| Fault::new(line, "without `end`"))?))
    }

    /// A block that `end` must end.
    fn last(&mut self, line: usize) -> Result<Block, Fault> {
        match self.inner(line)? {
            (block, End { otherwise: None, .. }) => Ok(block),
            (_, End { line, .. }) => Err(Fault::new(line, "`else` without a beginning")),
        }
    }
}

fn action(line: usize, tokens: &[Token]) -> Result<Node, String> {
    if let [Token::Variable(name, fields), operator @ (Token::Declare | Token::Assign), rest @ ..] = tokens {
        if name.is_empty() || !fields.is_empty() {
            return Err("only a variable can be set".to_owned());
        }
        let declares = *operator == Token::Declare;
        return Ok(Node::Set { line, name: name.clone(), declares, pipeline: pipeline(rest)? });
    }
    Ok(Node::Print { line, pipeline: pipeline(tokens)? })
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, String> {
    let mut rest = tokens;
    let parsed = commands(&mut rest)?;
    if rest.is_empty() { Ok(parsed) } else { Err(format!("{:?} is not understood here", rest[0])) }
}

/// Commands up to the end or an unmatched `)`.
fn commands(rest: &mut &[Token]) -> Result<Pipeline, String> {
    let mut pipeline = Vec::new();
    loop {
        pipeline.push(command(rest)?);
        match rest.first() {
            Some(Token::Pipe) => *rest = &rest[1..],
            _ => return Ok(pipeline),
        }
    }
}

fn command(rest: &mut &[Token]) -> Result<Command, String> {
    let function = match rest.first() {
        Some(Token::Word(word)) if literal(word).is_none() => Some(word.clone()),
        _ => None,
    };
    if function.is_some() {
        *rest = &rest[1..];
    }
    let mut operands = Vec::new();
    while let Some(operand) = operand(rest)? {
        operands.push(operand);
    }
    match function {
        Some(function) => Ok(Command::Call { function, arguments: operands }),
        None if operands.len() == 1 => operands.pop().map(Command::Value).ok_or_else(String::new),
        None => Err("one value, or a function and its arguments, was expected".to_owned()),
    }
}

fn operand(rest: &mut &[Token]) -> Result<Option<Operand>, String> {
    let parsed = match rest.first() {
        None | Some(Token::Pipe | Token::Close) => return Ok(None),
        Some(Token::Open) => {
            *rest = &rest[1..];
            let inner = commands(rest)?;
            if rest.first() != Some(&Token::Close) {
                return Err("`(` without `)`".to_owned());
            }
            Operand::Pipeline(inner)
        }
        Some(Token::Field(path)) => Operand::Field(path.clone()),
        Some(Token::Variable(name, path)) => Operand::Variable(name.clone(), path.clone()),
        Some(Token::Text(text)) => Operand::Literal(text.as_str().into()),
        Some(Token::Number(number)) => Operand::Literal((*number).into()),
        Some(Token::Word(word)) => {
            Operand::Literal(literal(word).ok_or_else(|| format!("a function, `{word}`, needs parentheses here"))?)
        }
        Some(other @ (Token::Declare | Token::Assign | Token::Comma)) => {
            return Err(format!("{other:?} is not understood here"));
        }
    };
    *rest = &rest[1..];
    Ok(Some(parsed))
}

fn literal(word: &str) -> Option<serde_json::Value> {
    match word {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        "nil" => Some(serde_json::Value::Null),
        _ => None,
    }
}
