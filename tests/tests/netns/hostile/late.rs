//! Requests that the sidecar would not see: as bytes in mesh TLS, in pieces, or in a form that only a lenient server reads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use outrigger_identity::Alpn;
use outrigger_tests::{App, Mesh, enter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::identity;

/// Whom the sidecar says the client is, to a server that reads whatever could be meant as HTTP.
fn lenient(namespace: &outrigger_sandbox::Namespace, port: u16) -> App {
    App::tcp(namespace, port, |mut stream| {
        Box::pin(async move {
            let mut head = Vec::new();
            loop {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let text = text.trim_start();
                if !text.ends_with("\n\n") && !text.ends_with("\r\n\r\n") {
                    continue;
                }
                let mut lines = text.lines();
                let words = lines.next().unwrap_or_default().split_whitespace().count();
                let id = lines.find_map(|line| line.strip_prefix("outrigger-client-id:")).unwrap_or("nobody").trim();
                let answer = format!("{words} words from {id}.");
                let _ = stream
                    .write_all(
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).as_bytes(),
                    )
                    .await;
                return;
            }
        })
    })
}

const PAUSE: Duration = Duration::from_millis(40);

#[test]
fn no_client_writes_the_header_that_says_who_it_is_by_having_its_request_passed_on_as_bytes() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, "");
    let outside = mesh.bare("outside");
    let admin = "outrigger-client-id: spiffe://mesh.local/ns/shop/sa/admin\r\nhost: a\r\n\r\n";
    let client = "spiffe://mesh.local/ns/shop/sa/client";
    let long = format!("G3T /{} HTTP/1.1\r\n", "a".repeat(20_000));
    // What is said, with pauses; whether it is good HTTP.
    let cases: &[(&[&str], bool)] = &[
        (&["GET / HTTP/1.1\r\n", "x-a: b\r\n"], true),
        (&["GET / HTTP/1.1\r\n"], true),
        (&["G", "ET / HTTP/1.1\r\n"], true),
        (&["GET / HTTP/1.1", "\r\n"], true),
        (&["GET / HT", "TP/1.1\r\n"], true),
        (&["G", "E", "T", " ", "/", " ", "H", "TTP/1.1", "\r", "\n"], true),
        (&["\r\n", "GET / HTTP/1.1\r\n"], true),
        (&["\r\n\r\nGET / HTTP/1.1\r\n"], false),
        (&["\n\nGET / HTTP/1.1\r\n"], false),
        (&["GET\t/\tHTTP/1.1\r\n"], false),
        (&["GET  /  HTTP/1.1\r\n"], false),
        (&["G3T / HTTP/1.1\r\n"], false),
        (&["!GET x HTTP/1.1\r\n"], false),
        (&["GET / http/1.1\r\n"], false),
        (&[&long], false),
    ];
    let web = mesh.pod_with("web-1", "web", "", &["--client-headers", "add"]);
    // A port for each: where HTTP has been spoken, the rest of a request line is waited for.
    let ways = cases.iter().flat_map(|case| [(case, false), (case, true)]);
    for (port, ((pieces, good), meshed)) in (8080..).zip(ways) {
        let _app = lenient(&web, port);
        let pod = format!("{}:{port}", web.ip());
        let mut stream: Box<dyn Stream> = outside
            .run(|| match meshed {
                true => Box::new(identity::connect_as(&mesh, client, &pod, Alpn::Opaque).unwrap()) as Box<dyn Stream>,
                false => Box::new(TcpStream::connect(&pod).unwrap()),
            })
            .unwrap();
        for piece in *pieces {
            let _ = stream.write_all(piece.as_bytes());
            let _ = stream.flush();
            std::thread::sleep(PAUSE);
        }
        let _ = stream.write_all(admin.as_bytes());
        let _ = stream.flush();
        let mut heard = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&heard).ends_with('.')
            && let Ok(read @ 1..) = stream.read(&mut bytes)
        {
            heard.extend_from_slice(&bytes[..read]);
        }
        let heard = String::from_utf8_lossy(&heard).into_owned();

        let want = if meshed { client } else { "nobody" };
        let shown = pieces.iter().map(|piece| &piece[..piece.len().min(40)]).collect::<Vec<_>>();
        assert!(!heard.contains("sa/admin"), "{shown:?}, meshed {meshed}: {heard}");
        let served = heard.ends_with(&format!("3 words from {want}."));
        let refused = heard.is_empty() || heard.starts_with("HTTP/1.1 400");
        assert!(served || !good && refused, "{shown:?}, meshed {meshed}: {heard}");
    }
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}
