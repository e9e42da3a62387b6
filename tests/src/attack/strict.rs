//! An app that reads HTTP/1 by the letter of RFC 9112 and keeps whatever it gets: what leaves the mesh leaves nothing to be guessed.

use std::sync::{Arc, Mutex};

use outrigger_sandbox::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::App;

/// The app; it answers each request with what [`Strict::seen`] says of it, and one to a path with `/early` before its body has come.
#[derive(Debug)]
pub struct Strict {
    seen: Arc<Mutex<Vec<String>>>,
    _app: App,
}

impl Strict {
    /// Serves on `port` of all addresses.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(namespace: &Namespace, port: u16) -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let record = seen.clone();
        let app = App::tcp(namespace, port, move |stream| {
            let record = record.clone();
            Box::pin(async move {
                // A connection that breaks is the test's own doing.
                let _ = serve(stream, &record).await;
            })
        });
        Self { seen, _app: app }
    }

    /// Each whole request as `METHOD target host body`, and each violation as `BROKEN: what`, since the last time.
    ///
    /// # Panics
    /// When a connection's task panicked.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("no task panicked"))
    }
}

async fn serve(mut stream: TcpStream, record: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let note = |said: String| record.lock().expect("no task panicked").push(said);
    let mut bytes = Vec::new();
    let mut answered = false;
    loop {
        let said = match request(&bytes) {
            Ok(Some((said, used))) => {
                bytes.drain(..used);
                said
            }
            Ok(None) => {
                if !answered && let Some(line) = early(&bytes) {
                    stream.write_all(answer(&line).as_bytes()).await?;
                    answered = true;
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            Err(broken) => {
                note(format!("BROKEN: {broken}: {}", bytes.escape_ascii()));
                return Ok(());
            }
        };
        // The neighbours' are many, and theirs to judge.
        if !said.contains(" /neighbour/") {
            note(said.clone());
        }
        if !std::mem::take(&mut answered) {
            stream.write_all(answer(&said).as_bytes()).await?;
        }
    }
}

fn answer(said: &str) -> String {
    // CONNECT is refused: all that follows is HTTP.
    let status = if said.starts_with("CONNECT ") { "405 Method Not Allowed" } else { "200 OK" };
    let body = if said.starts_with("HEAD ") { "" } else { said };
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", said.len())
}

/// The request line of a whole head that wants its answer before its body has come.
fn early(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..find(bytes, b"\r\n\r\n")?];
    let line = String::from_utf8_lossy(&head[..find(head, b"\r\n").unwrap_or(head.len())]).into_owned();
    line.contains("/early").then_some(line)
}

/// Reads a request at the beginning of `bytes`, if it is whole; returns what it says, and its length.
fn request(bytes: &[u8]) -> Result<Option<(String, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text")?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("request line");
    };
    if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("method or target");
    }
    let (mut host, mut framing) = (None, None);
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or("a field")?;
        if !is_token(name) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
            return Err("a field's name or value");
        }
        let place = match name.to_ascii_lowercase().as_str() {
            "host" => &mut host,
            "content-length" | "transfer-encoding" => &mut framing,
            _ => continue,
        };
        if place.replace((name, value)).is_some() {
            return Err("several hosts or framings");
        }
    }
    let body = end + 4;
    let (data, used) = match framing {
        None => (Vec::new(), body),
        Some((name, "chunked")) if name.eq_ignore_ascii_case("transfer-encoding") => {
            let Some((data, used)) = chunks(&bytes[body..])? else { return Ok(None) };
            (data, body + used)
        }
        Some((name, length)) if name.eq_ignore_ascii_case("content-length") => {
            let canonical =
                length.bytes().all(|digit| digit.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
            let length: usize = length.parse().ok().filter(|_| canonical).ok_or("Content-Length")?;
            let Some(data) = bytes.get(body..body + length) else { return Ok(None) };
            (data.to_vec(), body + length)
        }
        Some(_) => return Err("Transfer-Encoding"),
    };
    let host = host.map_or("-", |(_, host)| host);
    Ok(Some((format!("{method} {target} {host} {}", data.escape_ascii()), used)))
}

/// A chunked body without extensions, and with no trailers but `x-…`.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[at..at + end]).unwrap_or_default();
        let plain = !line.is_empty() && line.len() <= 8 && line.bytes().all(|digit| digit.is_ascii_hexdigit());
        let size = usize::from_str_radix(line, 16).ok().filter(|_| plain).ok_or("a chunk's size")?;
        at += end + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        data.extend_from_slice(chunk.strip_suffix(b"\r\n").ok_or("a chunk's end")?);
        at += size + 2;
    }
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = &bytes[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some((data, at)));
        }
        if !line.starts_with(b"x-") {
            return Err("a trailer");
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
