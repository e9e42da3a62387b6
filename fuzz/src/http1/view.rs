//! What a program that is served sees of a message, in a form that can be compared.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Fields by their names, in the order of each name's values.
pub type Fields = Vec<(String, Vec<u8>)>;

/// A body as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub data: Vec<u8>,
    pub trailers: Fields,
    /// Whether it came to its end.
    pub whole: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Method and target, or status.
    pub line: String,
    pub version: Version,
    pub fields: Fields,
    pub body: Read,
}

impl Message {
    /// Without what came of a body before it failed: how much that is depends on how it came.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = self.clone();
        if !settled.body.whole {
            settled.body.data.clear();
        }
        settled
    }

    /// The fields with lengths in the one form in which they are passed on: `007` as `7` (some readers take it for octal), and several
    /// that agree as one.
    #[must_use]
    pub fn with_plain_lengths(&self) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in &self.fields {
            let is_length = name == CONTENT_LENGTH.as_str();
            let field = (name.clone(), if is_length { without_zeros(value).to_vec() } else { value.clone() });
            if !is_length || fields.last() != Some(&field) {
                fields.push(field);
            }
        }
        fields
    }
}

/// Without the zeros in front, of which one stays where there is nothing else.
fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros.min(digits.len().saturating_sub(1))..]
}

/// The fields, without the length of a body that comes in chunks: it means nothing, and is taken away.
#[must_use]
pub fn fields(headers: &HeaderMap) -> Fields {
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    let kept = headers.iter().filter(|(name, _)| !(chunked && *name == CONTENT_LENGTH));
    let mut all: Fields = kept.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// Reads a body to its end, or to its failure.
pub async fn read<B>(body: B) -> Read
where
    B: Body<Data = Bytes> + Unpin,
{
    read_or_error(body).await.0
}

/// The same, with the failure.
pub async fn read_or_error<B>(body: B) -> (Read, Option<B::Error>)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut body = body;
    let mut read = Read { data: Vec::new(), trailers: Vec::new(), whole: false };
    loop {
        match body.frame().await {
            None => {
                read.whole = true;
                return (read, None);
            }
            Some(Err(error)) => return (read, Some(error)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.data.extend_from_slice(&data),
                Err(frame) => {
                    read.trailers = frame.into_trailers().map(|fields| self::fields(&fields)).unwrap_or_default();
                }
            },
        }
    }
}
