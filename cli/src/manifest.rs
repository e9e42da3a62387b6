//! Reading manifests: their documents, each with its own text.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

/// One document.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    pub(crate) object: Value,
}

/// Takes a YAML or JSON text apart. Documents that hold nothing but comments are left out.
///
/// # Errors
/// With line and message, when a document cannot be read.
pub(crate) fn split(text: &str) -> Result<Vec<Document<'_>>, String> {
    let mut documents = Vec::new();
    for (line, text) in parts(text) {
        // As kubectl reads it: `0644` is octal.
        let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
        let object: Option<Value> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let within = error.location().map_or(1, |location| location.line() as usize);
            format!("{}: {error}", line + within)
        })?;
        documents.extend(object.filter(|object| !object.is_null()).map(|object| Document { text, object }));
    }
    Ok(documents)
}

/// Reads a file, or stdin when it is called `-`.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text between document markers, each with the number of lines before it. In YAML a `---` at the start of a line is one
/// wherever it stands, even inside of a block scalar.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        if marker.is_some_and(|rest| rest.trim_start() != rest || rest.is_empty()) {
            parts.push((start_line, &text[start..offset]));
            (start, start_line) = (offset + 3, number);
        }
        offset += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_text_and_empty_ones_go() {
        let text = "# nothing\n---\na: 1 # one\n--- # two\nb: |\n  --- no marker\n...\n";

        let documents = split(text).unwrap();

        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].text.trim(), "a: 1 # one");
        assert_eq!(documents[1].object["b"], "--- no marker\n");
    }

    #[test]
    fn an_error_names_its_line_in_the_file() {
        let error = split("a: 1\n---\nb: 2\nc: [\n").unwrap_err();
        assert!(error.starts_with("5:") || error.starts_with("4:"), "{error}");
    }

    #[test]
    fn numbers_are_what_kubectl_makes_of_them() {
        let documents = split("{mode: 0644, plain: 644, text: '0644', big: 9007199254740993}").unwrap();
        let object = &documents[0].object;
        assert_eq!((&object["mode"], &object["plain"], &object["text"]), (&420.into(), &644.into(), &"0644".into()));
        assert_eq!(object["big"], 9_007_199_254_740_993_u64);
    }
}
