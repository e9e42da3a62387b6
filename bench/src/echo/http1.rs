//! HTTP/1: answers `GET /bytes/N` with N bytes. A path may begin with something else: routes look at it.

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A body larger than this is not asked for by any case.
const MAX_BODY: usize = 16 << 20;
/// A request head is a few hundred bytes.
const MAX_HEAD: usize = 64 << 10;

/// Serves one connection.
pub(super) async fn serve(mut io: TcpStream) -> Result<()> {
    let mut read = Vec::with_capacity(4096);
    let mut response = Response::default();
    loop {
        while let Some(end) = head_end(&read) {
            let length = wanted_length(&read[..end])?;
            read.drain(..end);
            io.write_all(response.of(length)?).await?;
        }
        anyhow::ensure!(read.len() < MAX_HEAD, "request head too large");
        if io.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
}

/// The last response, to be sent again when the same is asked for, as it always is.
#[derive(Default)]
struct Response {
    length: Option<usize>,
    bytes: Vec<u8>,
}

impl Response {
    fn of(&mut self, length: usize) -> Result<&[u8]> {
        if self.length != Some(length) {
            anyhow::ensure!(length <= MAX_BODY, "body too large: {length}");
            self.bytes =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n").into();
            self.bytes.resize(self.bytes.len() + length, b'x');
            self.length = Some(length);
        }
        Ok(&self.bytes)
    }
}

/// Where the head ends, just behind its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn wanted_length(head: &[u8]) -> Result<usize> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).context("request line is not UTF-8")?;
    let path = line.split(' ').nth(1).with_context(|| format!("no path in {line}"))?;
    let (_, number) = path.split_once("/bytes/").with_context(|| format!("unknown path {path}"))?;
    let digits = number.split('?').next().unwrap_or(number);
    digits.parse().with_context(|| format!("no number in {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_as_many_bytes_as_the_path_says() {
        let length = wanted_length(b"GET /bytes/65536?marker=1 HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();

        let mut response = Response::default();
        let bytes = response.of(length).unwrap();

        assert_eq!(bytes.len() - head_end(bytes).unwrap(), 65536);
        assert!(wanted_length(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
