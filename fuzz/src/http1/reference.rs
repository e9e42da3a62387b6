//! A naive reader of a stream of requests or of answers: the whole stream at hand, no state, no speed. It takes what RFC 9112 lets a
//! recipient take, and says where it ends.

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The words of the first line: method, target and version, or version, status and reason.
    pub line: [Vec<u8>; 3],
    /// Names in small letters, values without the white space around them.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Body,
    /// Where its body begins.
    pub head_end: usize,
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// It ends before this place.
    Whole { data: Vec<u8>, end: usize },
    /// The stream ends before the body does.
    Partial { data: Vec<u8> },
    /// What comes is no body.
    Malformed { data: Vec<u8> },
    /// All that follows.
    UntilClose { data: Vec<u8> },
}

impl Body {
    /// What there is of it.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Whole { data, .. }
            | Self::Partial { data }
            | Self::Malformed { data }
            | Self::UntilClose { data } => data,
        }
    }
}

impl Message {
    /// The values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// Whether it has both a length and chunks: no other message may follow (RFC 9112 section 6.1).
    #[must_use]
    pub fn has_two_lengths(&self) -> bool {
        self.all("content-length").next().is_some() && self.all("transfer-encoding").next().is_some()
    }

    /// Whether a field `Connection` lists this option.
    #[must_use]
    pub fn lists(&self, option: &str) -> bool {
        let mut options = self.all("connection").flat_map(|value| value.split(|byte| *byte == b','));
        options.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// A target as `http::Uri` writes it: the absolute form with its scheme in small letters and the `/` that it means (RFC 3986 section 6.2).
#[must_use]
pub fn with_path(target: &str) -> String {
    let Some((scheme, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return target.to_owned();
    };
    let scheme = ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme)).unwrap_or(scheme);
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{authority}{slash}{path}")
}

/// A target with all bytes percent-encoded that no URI has and servers take all the same.
#[must_use]
pub fn encoded(target: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => format!("%{byte:02X}"),
        _ => char::from(*byte).to_string(),
    };
    target.iter().map(one).collect()
}

/// The requests of a stream, up to the first that is not one. The last one's body may be none.
#[must_use]
pub fn requests(bytes: &[u8]) -> Vec<Message> {
    let mut all = Vec::new();
    let mut at = 0;
    loop {
        // RFC 9112 section 2.2: empty lines before a request line are passed over.
        while let Some(line) = line(&bytes[at..]).filter(|(text, _)| text.is_empty()) {
            at += line.1;
        }
        let Some((line, fields, head_end)) = head(bytes, at) else { return all };
        if !matches!(line[2].strip_prefix(b"HTTP/1."), Some([minor]) if minor.is_ascii_digit()) {
            return all;
        }
        let body = match length(&fields) {
            None => Body::Malformed { data: Vec::new() },
            Some(Length::Chunked) if line[2] != b"HTTP/1.1" => Body::Malformed { data: Vec::new() },
            Some(length) => body(bytes, head_end, length),
        };
        let end = if let Body::Whole { end, .. } = body { Some(end) } else { None };
        all.push(Message { line, fields, body, head_end });
        match end {
            Some(end) => at = end,
            None => return all,
        }
    }
}

/// The final answers of a stream to requests with these methods, and what is left; `Err` when it is not made of answers.
///
/// # Errors
/// The place from where on it is not.
pub fn answers(bytes: &[u8], methods: &[Vec<u8>]) -> Result<(Vec<Message>, usize), usize> {
    let mut all: Vec<Message> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (line, fields, head_end) = head(bytes, at).ok_or(at)?;
        let status: u16 = std::str::from_utf8(&line[1]).ok().and_then(|text| text.parse().ok()).ok_or(at)?;
        if (100..200).contains(&status) && status != 101 {
            at = head_end;
            continue;
        }
        let method = methods.get(all.len()).map_or(&b"GET"[..], |method| method);
        let none = status == 101 || status == 204 || status == 304 || method == b"HEAD";
        let tunnel = status == 101 || (method == b"CONNECT" && (200..300).contains(&status));
        let length = if none || tunnel {
            Length::Exact(0)
        } else {
            match length(&fields).ok_or(at)? {
                Length::Absent => Length::UntilClose,
                length => length,
            }
        };
        let body = body(bytes, head_end, length);
        let end = if let Body::Whole { end, .. } = body { Some(end) } else { None };
        let malformed = matches!(body, Body::Malformed { .. });
        all.push(Message { line, fields, body, head_end });
        match end {
            Some(end) if tunnel => return Ok((all, end)),
            Some(end) => at = end,
            None if malformed => return Err(head_end),
            None => return Ok((all, bytes.len())),
        }
    }
    Ok((all, at))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Absent,
    Exact(usize),
    Chunked,
    UntilClose,
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The line at the beginning of `bytes`, and how long it is with its end.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let text = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    Some((text, end + 1))
}

/// The first line, the fields, and where the head ends; `None` when it is no head, or not whole.
fn head(bytes: &[u8], mut at: usize) -> Option<([Vec<u8>; 3], Fields, usize)> {
    let (first, length) = line(&bytes[at..])?;
    at += length;
    let mut words = first.splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec);
    let words = [words.next()?, words.next()?, words.next().unwrap_or_default()];
    if words[0].is_empty() || words[1].is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    loop {
        let (text, length) = line(&bytes[at..])?;
        at += length;
        if text.is_empty() {
            return Some((words, fields, at));
        }
        fields.push(field(text)?);
    }
}

fn field(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    let token =
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte));
    let plain = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    (token && plain).then(|| {
        let value = value.iter().position(|byte| !b" \t".contains(byte)).map_or(&[][..], |begin| &value[begin..]);
        let end = value.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
        (name.to_ascii_lowercase(), value[..end].to_vec())
    })
}

/// RFC 9112 section 6.3; `None` when it has none that is sure.
fn length(fields: &Fields) -> Option<Length> {
    let values = |wanted: &'static [u8]| fields.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value);
    let codings: Vec<_> = values(b"transfer-encoding").collect();
    if !codings.is_empty() {
        return (codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked")).then_some(Length::Chunked);
    }
    let mut found = None;
    for value in values(b"content-length") {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()?;
        if found.is_some_and(|other| other != number) {
            return None;
        }
        found = Some(number);
    }
    Some(found.map_or(Length::Absent, Length::Exact))
}

fn body(bytes: &[u8], at: usize, length: Length) -> Body {
    match length {
        Length::Absent => Body::Whole { data: Vec::new(), end: at },
        Length::UntilClose => Body::UntilClose { data: bytes[at..].to_vec() },
        Length::Exact(length) => match bytes.get(at..).and_then(|rest| rest.get(..length)) {
            Some(data) => Body::Whole { data: data.to_vec(), end: at + length },
            None => Body::Partial { data: bytes[at..].to_vec() },
        },
        Length::Chunked => chunks(bytes, at),
    }
}

/// RFC 9112 section 7.1, to the letter.
fn chunks(bytes: &[u8], mut at: usize) -> Body {
    let mut data = Vec::new();
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > 4096 { Body::Malformed { data } } else { Body::Partial { data } };
        };
        let Some(text) = rest[..end].strip_suffix(b"\r") else { return Body::Malformed { data } };
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&text[..digits]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let extension = text[digits..].trim_ascii_start();
        let control = text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
        let Some(size) = size.filter(|_| !control && (extension.is_empty() || extension[0] == b';')) else {
            return Body::Malformed { data };
        };
        at += end + 1;
        if size == 0 {
            return trailers(bytes, at, data);
        }
        let rest = &bytes[at..];
        data.extend_from_slice(&rest[..size.min(rest.len())]);
        match rest.get(size..).map(|rest| &rest[..rest.len().min(2)]) {
            Some(b"\r\n") => at += size + 2,
            None | Some(b"" | b"\r") => return Body::Partial { data },
            Some(_) => return Body::Malformed { data },
        }
    }
}

fn trailers(bytes: &[u8], mut at: usize, data: Vec<u8>) -> Body {
    loop {
        let Some((text, length)) = line(&bytes[at..]) else { return Body::Partial { data } };
        if !bytes[at..at + length].ends_with(b"\r\n") {
            return Body::Malformed { data };
        }
        at += length;
        if text.is_empty() {
            return Body::Whole { data, end: at };
        }
        if field(text).is_none() {
            return Body::Malformed { data };
        }
    }
}
