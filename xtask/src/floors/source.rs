//! What a source file imports, re-exports and defines, as far as words tell: comments, strings and tests are left out.

use std::collections::BTreeSet;

/// One file's part in the graph of imports.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Its child modules that are files.
    pub(super) modules: Vec<String>,
    pub(super) uses: Vec<Use>,
    /// Paths of two segments and more, outside of `use`.
    pub(super) paths: Vec<Path>,
    pub(super) defined: BTreeSet<String>,
    /// All words outside of `use`.
    pub(super) words: BTreeSet<String>,
}

/// One name that a `use` brings in; of a glob it is `*`.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: Path,
    pub(super) name: String,
    /// Whether it is a re-export: what the file does not use itself is not an import of it.
    pub(super) public: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let tokens = without_tests(&tokens(text));
        let mut source = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            match &*tokens[at].text {
                "use" if at == 0 || !matches!(&*tokens[at - 1].text, "." | "$") => at = source.read_use(&tokens, at),
                "mod" if text_at(&tokens, at + 2) == ";" => {
                    source.modules.push(tokens[at + 1].text.clone());
                    at += 3;
                }
                _ => at = source.read_path(&tokens, at),
            }
        }
        source
    }

    /// Reads a `use`, and returns where the next item begins.
    fn read_use(&mut self, tokens: &[Token], at: usize) -> usize {
        let public = at > 0 && matches!(&*tokens[at - 1].text, "pub" | ")");
        let end = (at..tokens.len()).find(|at| tokens[*at].text == ";").unwrap_or(tokens.len());
        self.read_tree(&tokens[at + 1..end], &[], public);
        end + 1
    }

    /// Reads what may follow `use`: a path, and lists of such within braces.
    fn read_tree(&mut self, tokens: &[Token], prefix: &[String], public: bool) {
        let mut segments = prefix.to_vec();
        let mut alias = None;
        let mut line = 0;
        let mut rest = tokens;
        while let [token, after @ ..] = rest {
            rest = after;
            line = token.line;
            match &*token.text {
                // Of another crate, whatever its name.
                "::" if segments.is_empty() => return,
                "::" => {}
                "{" => {
                    for part in parts(&after[..after.len().saturating_sub(1)]) {
                        self.read_tree(part, &segments, public);
                    }
                    return;
                }
                "as" => alias = after.first().map(|name| name.text.clone()),
                _ if alias.is_some() => {}
                // A module's own name within its list.
                "self" if !segments.is_empty() => {}
                word => segments.push(word.to_owned()),
            }
        }
        let Some(last) = segments.last().cloned() else { return };
        let name = alias.unwrap_or(last);
        self.uses.push(Use { path: Path { segments, line }, name, public });
    }

    fn read_path(&mut self, tokens: &[Token], at: usize) -> usize {
        let token = &tokens[at];
        if !is_word(&token.text) {
            return at + 1;
        }
        let is_definition = matches!(
            &*token.text,
            "struct" | "enum" | "fn" | "type" | "trait" | "const" | "static" | "union" | "mod" | "macro_rules"
        );
        if is_definition {
            let name = if text_at(tokens, at + 1) == "!" { at + 2 } else { at + 1 };
            self.defined.insert(text_at(tokens, name).to_owned());
            return at + 1;
        }
        let is_rooted = at > 0 && tokens[at - 1].text == "::";
        let mut segments = vec![token.text.clone()];
        let mut next = at + 1;
        while text_at(tokens, next) == "::" && is_word(text_at(tokens, next + 1)) {
            segments.push(tokens[next + 1].text.clone());
            next += 2;
        }
        self.words.insert(segments[0].clone());
        if segments.len() > 1 && !is_rooted {
            self.paths.push(Path { segments, line: token.line });
        }
        next
    }
}

/// What commas part, outside of inner braces.
fn parts(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            match &*token.text {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.text == ","
        })
        .filter(|part| !part.is_empty())
        .collect()
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &*token.text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Leaves out each item that stands behind `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = ["#", "[", "cfg", "("].iter().enumerate().all(|(n, text)| text_at(tokens, at + n) == *text)
            && (text_at(tokens, at + 4) == "test"
                || (text_at(tokens, at + 4) == "all" && text_at(tokens, at + 6) == "test"));
        if is_test {
            at = item_end(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Returns where the item ends whose attributes begin here.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0_usize;
    let mut is_attribute = false;
    let mut is_use = false;
    while at < tokens.len() {
        match &*tokens[at].text {
            "#" if depth == 0 => is_attribute = true,
            "use" if depth == 0 => is_use = true,
            "{" | "(" | "[" => depth += 1,
            // The end of what is around it.
            "}" | ")" | "]" if depth == 0 => return at,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && tokens[at].text == "}" && !is_use {
                    return at + 1;
                }
                if depth == 0 && is_attribute {
                    is_attribute = false;
                }
            }
            ";" | "," if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Words, `::`, and all other characters one by one.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if is_word(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token { text: rest[..end].to_owned(), line });
            end
        } else if first.is_ascii_digit() {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            tokens.push(Token { text: "::".to_owned(), line });
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Token { text: first.to_string(), line });
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of a comment within `/*` and `*/`, which may hold others.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Returns the length of the string or character that begins here; a lifetime counts as one.
fn string(text: &str) -> Option<usize> {
    let plain = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - plain.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = plain.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(text.len() - body.len() + body.find(&end)? + end.len());
    }
    let quote = plain.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = plain.char_indices().skip(1);
    if quote == '\'' {
        let (_, first) = chars.next()?;
        if first != '\\' {
            let is_char = chars.next().is_some_and(|(_, next)| next == '\'');
            return Some(prefix + 1 + if is_char { first.len_utf8() + 1 } else { 0 });
        }
        chars.next();
    }
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return Some(prefix + at + 1);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(text: &str) -> Vec<String> {
        let source = Source::read(text);
        source
            .uses
            .iter()
            .map(|one| format!("{}:{}={}", one.path.line, one.name, one.path.segments.join(".")))
            .collect()
    }

    #[test]
    fn reads_lists_within_lists_and_other_names() {
        assert_eq!(
            uses("use crate::{a::{self, B, c::D as E},\n f};\npub(crate) use x::*;\nuse ::serde::S;"),
            ["1:a=crate.a", "1:B=crate.a.B", "1:E=crate.a.c.D", "2:f=crate.f", "3:*=x.*"]
        );
        assert!(Source::read("pub(crate) use x::Y;").uses[0].public);
        assert!(!Source::read("use x::Y;").uses[0].public);
    }

    #[test]
    fn what_is_no_code_and_what_is_for_tests_imports_nothing() {
        let text = r##"
            // use a::A;
            /* use b::B; /* use b::B; */ use b::B; */
            const TEXT: &str = "use c::C; \" use c::C;";
            const RAW: &str = r#"use d::D; " use d::D;"#;
            const QUOTE: (char, char, u8) = ('"', '\'', b'"');
            fn life<'a>(of: &'a str) -> &'a str { of }
            #[cfg(test)]
            use e::{E, F};
            #[cfg(test)]
            #[path = "x_tests.rs"]
            mod tests;
            #[cfg(test)]
            mod more { use super::*; fn f() { g::h(); } }
            mod child;
            use last::Last;
        "##;

        let source = Source::read(text);

        assert_eq!(uses(text), ["16:Last=last.Last"]);
        assert_eq!(source.modules, ["child"]);
        assert!(source.paths.is_empty(), "{:?}", source.paths);
        assert!(source.defined.contains("QUOTE") && source.defined.contains("life"));
    }

    #[test]
    fn reads_paths_in_code() {
        let source = Source::read("fn f() -> crate::a::B {\n    super::g::<u8>(io::Error::other(::x::y()))\n}");
        let paths: Vec<String> =
            source.paths.iter().map(|path| format!("{}:{}", path.line, path.segments.join("."))).collect();
        assert_eq!(paths, ["1:crate.a.B", "2:super.g", "2:io.Error.other"]);
    }
}
