//! Connections that leave HTTP.

use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Heard, Place, Way, ends, head, read_until};

/// What `docker exec` sends: a request with content that asks for a raw connection.
const EXEC: &str = "POST /v1.43/exec/1/start HTTP/1.1\r\nhost: docker\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\
    content-type: application/json\r\ncontent-length: 15\r\n\r\n{\"Detach\":false";

#[test]
fn a_request_with_content_may_ask_for_a_raw_connection() {
    let execs = async |mut stream: tokio::net::TcpStream, heard: Heard| {
        let Some(head) = head(&mut stream).await else { return };
        let asked = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let mut content = [0; 15];
        stream.read_exact(&mut content).await.unwrap();
        let asks = asked.contains("\r\nupgrade: tcp\r\n") && asked.contains("\r\nconnection: upgrade\r\n");
        heard.lock().unwrap().push(format!("{asks} {}", String::from_utf8_lossy(&content)));
        if !asks {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            return;
        }
        let agreed = b"HTTP/1.1 101 UPGRADED\r\ncontent-type: application/vnd.docker.raw-stream\r\n\
            connection: Upgrade\r\nupgrade: tcp\r\n\r\n$ ";
        stream.write_all(agreed).await.unwrap();
        let mut typed = Vec::new();
        stream.read_to_end(&mut typed).await.unwrap();
        stream.write_all(&[b"out of ", &typed[..]].concat()).await.unwrap();
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(execs(stream, heard))) else { return };
    let told = |way: &Way<'_>| {
        let mut stream = way.dial();
        stream.write_all(EXEC.as_bytes()).unwrap();
        let head = read_until(&mut stream, "\r\n\r\n");
        stream.write_all(b"ls").unwrap();
        let rest = ends(&mut stream);
        (head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), rest, place.take_heard())
    };

    let want = told(&place.plain());
    assert_eq!(want, (true, "$ out of ls".to_owned(), vec!["true {\"Detach\":false".to_owned()]));
    for way in place.meshed() {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}
