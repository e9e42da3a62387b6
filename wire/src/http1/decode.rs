//! Bodies as they come: cut to their length, or freed of their chunks (RFC 9112 section 7.1). Works on what has been read, wherever the
//! network has split it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::Error;
use super::framing::Length;
use super::{MAX_ASIDE, USUAL_FIELDS};
use crate::MAX_FIELDS;

/// The longest line with a chunk's size and extensions, bytes.
const MAX_SIZE_LINE: usize = 4 * 1024;

/// Bytes of chunk extensions in one body: nobody uses them, so many of them are an attack.
const MAX_EXTENSIONS: usize = 16 * 1024;

const LINE_BREAK: &[u8] = b"\r\n";

/// A body that is being read.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// So many bytes are still to come.
    Exact(u64),
    Chunked(Chunked),
    UntilClose,
    Done,
    /// The body cannot be read, nor can anything that follows it. Every further step fails in the same way and takes nothing.
    Failed(Fault),
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Malformed(&'static str),
    /// The trailers are longer than is accepted.
    TooLarge,
    /// The connection has ended or failed within the body.
    Incomplete,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(what) => Self::Malformed(what),
            Fault::TooLarge => Self::HeadTooLarge,
            Fault::Incomplete => Self::Incomplete,
        }
    }
}

/// What the next bytes are.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes are needed.
    More,
    End,
}

impl Decoder {
    pub(crate) fn new(length: Length) -> Self {
        match length {
            Length::Exact(0) => Self::Done,
            Length::Exact(length) => Self::Exact(length),
            Length::Chunked => Self::Chunked(Chunked::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Returns how many bytes are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Exact(left) => Some(*left),
            Self::Done => Some(0),
            Self::Chunked(_) | Self::UntilClose | Self::Failed(_) => None,
        }
    }

    /// Returns why the body cannot be read, if that is so.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Failed(fault) => Some(*fault),
            Self::Exact(_) | Self::Chunked(_) | Self::UntilClose | Self::Done => None,
        }
    }

    /// Takes the next part off `read`.
    pub(crate) fn step(&mut self, read: &mut BytesMut) -> Result<Step, Error> {
        match self {
            Self::Done => Ok(Step::End),
            Self::Failed(fault) => Err((*fault).into()),
            _ if read.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Data(take(read, usize::MAX))),
            Self::Exact(left) => {
                let data = take(read, usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Data(data))
            }
            Self::Chunked(chunked) => {
                let step = chunked.step(read);
                match step {
                    Err(fault) => *self = Self::Failed(fault),
                    Ok(_) if chunked.state == State::Done => *self = Self::Done,
                    Ok(_) => {}
                }
                Ok(step?)
            }
        }
    }
}

/// Takes up to `most` bytes; what is emptied gives its memory to whom holds the bytes.
pub(crate) fn take(read: &mut BytesMut, most: usize) -> Bytes {
    if read.len() <= most { std::mem::take(read).freeze() } else { read.split_to(most).freeze() }
}

/// Chunks that are being read.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// Bytes of the present chunk that are still to come.
    left: u64,
    extensions: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data,
    DataEnd,
    Trailers,
    Done,
}

impl Chunked {
    fn step(&mut self, read: &mut BytesMut) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::Size => {
                    let Some(line) = line(read)? else { return Ok(Step::More) };
                    let (size, digits) = chunk_size(line)?;
                    self.extensions += line.len() - digits;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(Fault::Malformed("too many chunk extensions"));
                    }
                    // Taken only now: a line that is refused stays where it is.
                    let taken = line.len() + LINE_BREAK.len();
                    drop(take(read, taken));
                    self.left = size;
                    self.state = if size == 0 { State::Trailers } else { State::Data };
                }
                State::Data => {
                    if read.is_empty() {
                        return Ok(Step::More);
                    }
                    let data = take(read, usize::try_from(self.left).unwrap_or(usize::MAX));
                    self.left -= data.len() as u64;
                    if self.left == 0 {
                        self.state = State::DataEnd;
                        // So that the end is known with the last data, when it is there.
                        self.data_end(read)?;
                    }
                    return Ok(Step::Data(data));
                }
                State::DataEnd => {
                    if !self.data_end(read)? {
                        return Ok(Step::More);
                    }
                }
                State::Trailers => {
                    let Some(trailers) = self.trailers(read)? else { return Ok(Step::More) };
                    return Ok(if trailers.is_empty() { Step::End } else { Step::Trailers(trailers) });
                }
                State::Done => return Ok(Step::End),
            }
        }
    }

    /// Passes the line break after a chunk's data, and a last chunk without trailers that follows it.
    fn data_end(&mut self, read: &mut BytesMut) -> Result<bool, Fault> {
        match read.get(..LINE_BREAK.len()) {
            Some(LINE_BREAK) => {
                drop(take(read, LINE_BREAK.len()));
                self.state = State::Size;
                if read.starts_with(b"0\r\n\r\n") {
                    drop(take(read, 5));
                    self.state = State::Done;
                }
                Ok(true)
            }
            Some(_) => Err(Fault::Malformed("a chunk is longer than its size")),
            None if read.first().is_some_and(|byte| *byte != b'\r') => {
                Err(Fault::Malformed("a chunk is longer than its size"))
            }
            None => Ok(false),
        }
    }

    fn trailers(&mut self, read: &mut BytesMut) -> Result<Option<HeaderMap>, Fault> {
        let (mut usual, mut many) = ([httparse::EMPTY_HEADER; USUAL_FIELDS], Vec::new());
        let mut parsed = httparse::parse_headers(read, &mut usual);
        if matches!(parsed, Err(httparse::Error::TooManyHeaders)) {
            many.resize(MAX_FIELDS, httparse::EMPTY_HEADER);
            parsed = httparse::parse_headers(read, &mut many);
        }
        let seen = if let Ok(httparse::Status::Complete((length, _))) = parsed { &read[..length] } else { &read[..] };
        if has_bare_line_feed(seen) {
            return Err(Fault::Malformed("a line feed alone in the trailers"));
        }
        let (length, fields) = match parsed {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) if read.len() <= MAX_ASIDE => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(Fault::TooLarge),
            Err(httparse::Error::TooManyHeaders) => return Err(Fault::TooLarge),
            Err(_) => return Err(Fault::Malformed("trailers")),
        };
        let mut trailers = HeaderMap::new();
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else { return Err(Fault::Malformed("trailers")) };
            trailers.append(name, value);
        }
        drop(take(read, length));
        self.state = State::Done;
        Ok(Some(trailers))
    }
}

/// Says whether a line ends with a line feed alone. Readers differ in whether the line, or the whole body, ends there.
fn has_bare_line_feed(trailers: &[u8]) -> bool {
    trailers.starts_with(b"\n") || trailers.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

/// Returns the line at the beginning of `read` without its end; a line ends with CR LF, and nothing else will do. There is no control in it but
/// the tab (RFC 9112 section 7.1.1): others end a line at NUL.
fn line(read: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let end = read.iter().take(MAX_SIZE_LINE + 1).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        let too_long = read.len() > MAX_SIZE_LINE;
        return if too_long { Err(Fault::Malformed("a chunk's size line is too long")) } else { Ok(None) };
    };
    match read[..end].strip_suffix(b"\r") {
        Some(line) if !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => Ok(Some(line)),
        _ => Err(Fault::Malformed("a chunk's size line")),
    }
}

/// Returns a chunk's size, and how many digits it has.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Fault> {
    let malformed = || Fault::Malformed("a chunk's size");
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| malformed())?;
    // Sixteen digits fill 64 bits.
    if digits > 16 {
        return Err(malformed());
    }
    let size = u64::from_str_radix(text, 16).map_err(|_| malformed())?;
    // Space may stand before an extension, and some writers pad sizes with it.
    match line[digits..].iter().find(|byte| !matches!(byte, b' ' | b'\t')) {
        None | Some(b';') => Ok((size, digits)),
        Some(_) => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes what comes in pieces of this size; the data, the trailers and what is left.
    fn decode(length: Length, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, Vec<u8>), Error> {
        let mut decoder = Decoder::new(length);
        let (mut data, mut trailers) = (Vec::new(), 0);
        let mut read = BytesMut::new();
        let mut pieces = bytes.chunks(piece);
        loop {
            match decoder.step(&mut read)? {
                Step::Data(bytes) => data.extend_from_slice(&bytes),
                Step::Trailers(fields) => trailers += fields.len(),
                Step::End => break,
                Step::More => match pieces.next() {
                    Some(piece) => read.extend_from_slice(piece),
                    None => return Err(Error::Incomplete),
                },
            }
        }
        let rest = read.iter().copied().chain(pieces.flatten().copied()).collect();
        Ok((data, trailers, rest))
    }

    #[test]
    fn chunks_come_to_their_end_however_they_are_split() {
        let body = b"4;name=\"value\"\r\nWiki\r\n6 \r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nx-sum: 1\r\n\r\nGET /";
        for piece in 1..body.len() {
            let (data, trailers, rest) = decode(Length::Chunked, body, piece).unwrap();
            assert_eq!(data, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!((trailers, &rest[..]), (1, &b"GET /"[..]), "pieces of {piece}");
        }
    }

    #[test]
    fn what_other_readers_might_read_in_another_way_is_refused() {
        for body in [
            "4\nWiki\n0\n\n",
            "4\r\nWikipedia\r\n0\r\n\r\n",
            "4\r\nWiki0\r\n\r\n",
            "g\r\n",
            "\r\n4\r\nWiki",
            "+4\r\nWiki\r\n0\r\n\r\n",
            "0x4\r\nWiki\r\n0\r\n\r\n",
            "-1\r\n",
            "4 4\r\nWiki\r\n0\r\n\r\n",
            "10000000000000004\r\nWiki\r\n0\r\n\r\n",
            "4;a\rb\r\nWiki\r\n0\r\n\r\n",
            "4;a\nb\r\nWiki\r\n0\r\n\r\n",
            "4;a\0b\r\nWiki\r\n0\r\n\r\n",
            "0\r\nbad name: 1\r\n\r\n",
            "0\r\n\n",
            "0\r\nx: 1\n\r\n",
            "0\r\nx: 1\r\n\n",
            "0\r\nx: 1\ny: 2\r\n\r\n",
        ] {
            for piece in [1, body.len()] {
                let got = decode(Length::Chunked, body.as_bytes(), piece);
                assert!(matches!(got, Err(Error::Malformed(_))), "{body:?} in pieces of {piece}: {got:?}");
            }
        }
    }

    #[test]
    fn extensions_and_trailers_without_end_are_refused() {
        let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20);
        assert!(matches!(decode(Length::Chunked, many.as_bytes(), 100), Err(Error::Malformed(_))));
        let long = format!("1;{}", "x".repeat(MAX_SIZE_LINE + 1));
        assert!(matches!(decode(Length::Chunked, long.as_bytes(), 100), Err(Error::Malformed(_))));
        let trailer = format!("0\r\nx: {}", "y".repeat(MAX_ASIDE + 1));
        assert!(matches!(decode(Length::Chunked, trailer.as_bytes(), 1000), Err(Error::HeadTooLarge)));
        let fields = |many| format!("0\r\n{}\r\n", "x: y\r\n".repeat(many));
        let (_, came, _) = decode(Length::Chunked, fields(MAX_FIELDS).as_bytes(), 1000).unwrap();
        assert_eq!(came, MAX_FIELDS);
        assert!(matches!(decode(Length::Chunked, fields(MAX_FIELDS + 1).as_bytes(), 1000), Err(Error::HeadTooLarge)));
    }

    #[test]
    fn the_end_of_a_body_is_known_with_its_last_data() {
        let mut decoder = Decoder::new(Length::Chunked);
        let mut read = BytesMut::from(&b"2\r\nok\r\n0\r\n\r\n"[..]);
        assert_eq!(decoder.step(&mut read).unwrap(), Step::Data(Bytes::from_static(b"ok")));
        assert!(decoder.is_done());
        assert_eq!(decode(Length::Exact(2), b"okGET", 5).unwrap(), (b"ok".to_vec(), 0, b"GET".to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_data_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _ = decode(Length::Chunked, &bytes, piece);
        }

        #[test]
        fn every_body_comes_out_as_it_went_in(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..12),
            piece in 1_usize..80,
        ) {
            let mut encoded = Vec::new();
            for part in &parts {
                encoded.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
                encoded.extend_from_slice(part);
                encoded.extend_from_slice(b"\r\n");
            }
            encoded.extend_from_slice(b"0\r\n\r\n");
            let (data, trailers, rest) = decode(Length::Chunked, &encoded, piece).unwrap();
            prop_assert_eq!(data, parts.concat());
            prop_assert_eq!((trailers, rest.len()), (0, 0));
        }
    }
}
