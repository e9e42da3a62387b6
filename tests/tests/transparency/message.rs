//! HTTP/1 as the rows compare it: messages without the framing that each hop may choose anew.

/// The length of the first message, when all of it is there.
pub(crate) fn whole(bytes: &[u8]) -> Option<usize> {
    let message = parse(bytes)?;
    message.complete.then_some(message.length)
}

/// Text for a transcript: HTTP messages field by field, other bytes escaped, long ones by length and sum.
pub(crate) fn tidy(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut parts = Vec::new();
    while let Some(message) = parse(rest) {
        parts.push(message.text);
        rest = &rest[message.length..];
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(short(rest));
    }
    parts.join(" + ")
}

/// What is longer is told by its sum.
const LONG: usize = 400;

struct Message {
    text: String,
    length: usize,
    complete: bool,
}

/// Fields that concern one hop only (RFC 9110 section 7.6.1); each hop writes its own.
const OF_A_HOP: [&str; 2] = ["connection", "keep-alive"];

/// What a hop says anew in its own words, if it says the same.
const WRITTEN_ANEW: [&str; 2] = ["te", "transfer-encoding"];

fn parse(bytes: &[u8]) -> Option<Message> {
    if let Some(rest) = bytes.strip_prefix(b"\r\n") {
        // A server overlooks an empty line before a request (RFC 9112 section 2.2).
        return parse(rest).map(|message| Message { length: message.length + 2, ..message });
    }
    let head_end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head: String = bytes[..head_end].iter().copied().map(char::from).collect();
    let mut lines = head.trim_end().split("\r\n");
    let first = lines.next()?;
    if !first.starts_with("HTTP/1.") && !first.contains(" HTTP/1.") {
        return None;
    }
    let fields: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let value = |name: &str| fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.trim());
    let without_body = first.starts_with("HTTP/1.1 1") || first.contains(" 204 ") || first.contains(" 304 ");
    let body = &bytes[head_end..];
    let (content, used, complete) = if without_body {
        (Vec::new(), 0, true)
    } else if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(body)
    } else if let Some(length) = value("content-length").and_then(|length| length.parse::<usize>().ok()) {
        let used = length.min(body.len());
        (body[..used].to_vec(), used, used == length)
    } else if first.starts_with("HTTP/1.") {
        (body.to_vec(), body.len(), false)
    } else {
        (Vec::new(), 0, true)
    };
    let mut told: Vec<String> = fields
        .iter()
        .filter(|field| !OF_A_HOP.iter().any(|name| field.0.eq_ignore_ascii_case(name)))
        .map(|field| match field.0 {
            name if WRITTEN_ANEW.iter().any(|anew| name.eq_ignore_ascii_case(anew)) => {
                format!("{}: {}", name.to_ascii_lowercase(), field.1.trim())
            }
            name => format!("{name}: {}", field.1.trim()),
        })
        .collect();
    for field in &mut told {
        if field.len() > LONG {
            let (name, value) = field.split_once(':').unwrap_or_default();
            *field = format!("{name}: {}", short(value.trim().as_bytes()));
        }
    }
    let first_told =
        if first.len() > LONG { format!("{} HTTP/1.1", short(first.as_bytes())) } else { first.to_owned() };
    told.insert(0, first_told);
    let text = format!("{} | {}", told.join(" | "), short(&content));
    Some(Message { text, length: head_end + used, complete })
}

/// The content of chunks without their sizes, which a hop may choose; a line for each trailer; how much was used; whether all was there.
fn chunks(mut bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let (all, mut content) = (bytes.len(), Vec::new());
    let line = |bytes: &[u8]| bytes.windows(2).position(|part| part == b"\r\n");
    while let Some(end) = line(bytes) {
        let size = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16) else { break };
        if size == 0 {
            let mut rest = &bytes[end + 2..];
            while let Some(end) = line(rest) {
                if end == 0 {
                    return (content, all - rest.len() + 2, true);
                }
                content.extend_from_slice(b" trailer ");
                content.extend_from_slice(&rest[..end].to_ascii_lowercase());
                rest = &rest[end + 2..];
            }
            break;
        }
        let Some(chunk) = bytes.get(end + 2..end + 2 + size) else {
            content.extend_from_slice(&bytes[end + 2..]);
            break;
        };
        content.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    content.extend_from_slice(b" (broken off)");
    (content, all, false)
}

fn short(bytes: &[u8]) -> String {
    if bytes.len() > LONG {
        let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        return format!("{} bytes of sum {sum:x}", bytes.len());
    }
    format!("\"{}\"", bytes.escape_ascii())
}

#[test]
fn messages_are_told_without_framing() {
    let text = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx: y\r\n\r\n";
    assert_eq!(
        tidy(text),
        "HTTP/1.1 103 Early Hints | Link: a | \"\" + HTTP/1.1 200 OK | transfer-encoding: chunked | \"abc trailer x: y\""
    );
    assert_eq!(whole(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab"), None);
    assert_eq!(whole(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcd"), Some(41));
}
