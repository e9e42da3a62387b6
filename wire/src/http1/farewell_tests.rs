//! How the client of a connection that is to close is told.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;

const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const KEPT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const LAST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const UNASKED: &str = "HTTP/1.1 408 Request Timeout\r\nx-why: end\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves a client, which takes a second for each answer, until the sender is used.
fn served(unasked: bool) -> (DuplexStream, oneshot::Sender<()>) {
    let (client, server) = duplex(1000);
    let (close, closes) = oneshot::channel::<()>();
    let farewell = async move {
        let _ = closes.await;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        response.headers_mut().insert("x-why", http::HeaderValue::from_static("end"));
        unasked.then_some(response)
    };
    let answer = |_: Request<Incoming>| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Response::new(Full::new(Bytes::new()))
    };
    tokio::spawn(async move { serve_until(server, &Options::default(), answer, farewell).await.map(drop) });
    (client, close)
}

async fn hear(client: &mut DuplexStream, text: &str) {
    let mut heard = vec![0; text.len()];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

async fn hear_end(client: &mut DuplexStream) {
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_told_unasked_and_a_request_that_crosses_it_is_not_read() {
    let (mut client, close) = served(true);
    client.write_all(ASKED).await.unwrap();
    hear(&mut client, KEPT).await;

    close.send(()).unwrap();
    hear(&mut client, UNASKED).await;
    // The connection is not cut under what the client writes meanwhile.
    client.write_all(ASKED).await.unwrap();
    hear_end(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_not_been_served_yet_or_is_not_to_be_told_unasked_hears_it_with_the_next_answer() {
    for (unasked, before) in [(true, 0), (false, 0), (false, 1)] {
        let (mut client, close) = served(unasked);
        for _ in 0..before {
            client.write_all(ASKED).await.unwrap();
            hear(&mut client, KEPT).await;
        }
        close.send(()).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;

        client.write_all(ASKED).await.unwrap();
        hear(&mut client, LAST).await;
        hear_end(&mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_under_way_tells_it() {
    let (mut client, close) = served(true);
    client.write_all(ASKED).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;

    close.send(()).unwrap();
    hear(&mut client, LAST).await;
    hear_end(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_has_a_look_at_what_was_said_unasked_and_uses_the_connection_no_more() {
    let (ours, mut server) = duplex(1000);
    let connection = Connection::new(ours);
    assert!(connection.is_open());
    assert!(connection.unasked().is_none());

    server.write_all(UNASKED.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    assert!(!connection.is_open());
    let unasked = connection.unasked().unwrap();
    assert_eq!(unasked.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(unasked.headers()["x-why"], "end");
}
