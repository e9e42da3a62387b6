//! A plain HTTP/1.1 client over a blocking socket: it does nothing that a test did not write, and knows nothing of the
//! product.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// All of the body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A connection that stays open.
#[derive(Debug)]
pub struct Client {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `IP:PORT`.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { host: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the whole answer. `Host` and `Content-Length` are added unless they are given.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or the answer is no HTTP.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        let has = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            head.push_str(&format!("host: {}\r\n", self.host));
        }
        if !body.is_empty() && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes)?;
        self.read(method == "HEAD")
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send("GET", path, &[], &[])
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does, or the answer is no HTTP.
    pub fn read(&mut self, to_head: bool) -> io::Result<Response> {
        let mut response = self.head()?;
        // What only informs is not the answer; 101 is one.
        while (100..200).contains(&response.status) && response.status != 101 {
            response = self.head()?;
        }
        let length: Option<usize> = response.header("content-length").parse().ok();
        if to_head || matches!(response.status, 101 | 204 | 304) {
            return Ok(response);
        }
        if response.header("transfer-encoding").contains("chunked") {
            self.chunks(&mut response)?;
        } else if let Some(length) = length {
            response.body.resize(length, 0);
            self.stream.read_exact(&mut response.body)?;
        } else {
            self.stream.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    /// The socket itself, behind what was read ahead.
    pub fn raw(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    fn head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| malformed(&line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn chunks(&mut self, response: &mut Response) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(|_| malformed(&line))?;
            if size == 0 {
                break;
            }
            let start = response.body.len();
            response.body.resize(start + size, 0);
            self.stream.read_exact(&mut response.body[start..])?;
            self.line()?;
        }
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { return Ok(()) };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// Sends one GET to `http://IP:PORT/PATH` on a connection of its own.
///
/// # Errors
/// When there is no whole answer.
pub fn try_get(url: &str) -> io::Result<Response> {
    let rest = url.strip_prefix("http://").ok_or_else(|| malformed(url))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let last = authority.rsplit(']').next().unwrap_or(authority);
    let address = if last.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let mut client = Client::connect(&address)?;
    client.send("GET", if path.is_empty() { "/" } else { path }, &[("host", authority), ("connection", "close")], &[])
}

fn malformed(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {line:?}"))
}
