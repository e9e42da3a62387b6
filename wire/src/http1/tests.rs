//! Both sides together, with peers that speak byte by byte.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;

type Chunks = mpsc::Sender<Frame<Bytes>>;

/// A body whose parts the test sends; it breaks off when the sender is dropped before `end`.
struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn fed() -> (Chunks, Fed) {
    let (sender, receiver) = mpsc::channel(16);
    (sender, Fed(receiver))
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// A client's end of a connection that is served by `service`.
fn served<F, B>(service: impl Fn(Request<Incoming>) -> F + Send + 'static) -> (Client, JoinHandle<Result<bool, Error>>)
where
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<crate::cut::BoxError>,
{
    let (client, server) = duplex(1000);
    let options = Options { idle: Some(Duration::from_secs(75)), ..Options::default() };
    let serving =
        tokio::spawn(
            async move { serve(server, &options, service).await.map(|served| matches!(served, Served::Ended)) },
        );
    (Client(client), serving)
}

/// Answers with the request's own body.
async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    match request.into_body().collect().await {
        Ok(body) => Response::new(Full::new(Bytes::from([path.as_bytes(), b":", &body.to_bytes()].concat()))),
        Err(error) => {
            let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

struct Client(DuplexStream);

impl Client {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hear(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        let read = self.0.read_exact(&mut heard);
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("an answer in time").unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }

    async fn hear_end(&mut self) {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(80), self.0.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_connection_are_answered_in_their_order() {
    let (mut client, _serving) = served(echo);
    client.say("POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n12GET /b HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.say("PUT /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").await;
    for body in ["/a:12", "/b:", "/c:abcd"] {
        client.hear(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    }
    client.say("GET /d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n/d:").await;
    client.hear_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_its_side_gets_its_answer() {
    let (mut client, serving) = served(|request| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        echo(request).await
    });
    client.say("GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.0.shutdown().await.unwrap();
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/a:").await;
    client.hear_end().await;
    assert!(serving.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_a_word_before_its_body_is_told_nothing_here() {
    let (mut client, _serving) = served(echo);
    client.say("POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.say("ok").await;
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n/a:ok").await;

    let (mut client, _serving) = served(|_| async { Response::new(Full::new(Bytes::from_static(b"no"))) });
    client.say("POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    client.hear_end().await;
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_that_nobody_reads_is_never_a_request() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let service = |_| async {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        Response::new(Empty::<Bytes>::new())
    };
    for late in [false, true] {
        REQUESTS.store(0, Ordering::Relaxed);
        let (mut client, _serving) = served(service);
        let head = format!("POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", smuggled.len());
        client.say(&if late { head } else { head + &smuggled[..9] }).await;
        client.hear("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        // The connection may be closed by now.
        let _ = client.0.write_all(&smuggled.as_bytes()[if late { 0 } else { 9 }..]).await;
        client.hear_end().await;
        assert_eq!(REQUESTS.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_is_told_so_and_closed() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\nhost : x\r\n\r\n", "400 Bad Request"),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400 Bad Request"),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x\r\n\r\n", "400 Bad Request"),
    ] {
        let (mut client, serving) = served(echo);
        client.say(text).await;
        client.hear(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
        client.hear_end().await;
        drop(client);
        assert!(serving.await.unwrap().is_err_and(|error| error.is_malformed()), "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_understood_is_told_so_and_closed() {
    let post = "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for (body, answer) in [
        ("2\r\nok\r\nx\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("2\r\nokay\r\n0\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("0\r\nx y: z\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        let (mut client, serving) = served(echo);
        client.say(post).await;
        client.say(body).await;
        client.hear(&format!("{answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")).await;
        client.hear_end().await;
        assert!(serving.await.unwrap().unwrap_err().is_malformed());
    }

    let (mut client, serving) = served(echo);
    client.say(post).await;
    client.say("2\r\no").await;
    client.0.shutdown().await.unwrap();
    client.hear_end().await;
    assert!(matches!(serving.await.unwrap(), Err(Error::Incomplete)));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_failed_fails_again_and_never_ends_well() {
    let (broken, mut bodies) = mpsc::channel(1);
    for (framing, part) in [
        ("content-length: 10", "half"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\nx\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "4\r\nhalf\r\n0\r\nx y: z\r\n\r\n"),
    ] {
        let broken = broken.clone();
        let (mut client, _serving) = served(move |request| {
            let broken = broken.clone();
            async move {
                let _ = broken.send(request.into_body()).await;
                std::future::pending::<Response<Empty<Bytes>>>().await
            }
        });
        client.say(&format!("PUT / HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n")).await;
        client.say(part).await;
        client.0.shutdown().await.unwrap();
        let mut body = bodies.recv().await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");

        let first = body.frame().await.unwrap().unwrap_err();

        for _ in 0..3 {
            assert!(!body.is_end_stream() && body.size_hint().exact().is_none(), "{part:?}");
            let again = body.frame().await.expect("no end").unwrap_err();
            assert_eq!(again.to_string(), first.to_string(), "{part:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_given_up() {
    for said in ["", "\r\n\r\n"] {
        let (mut client, serving) = served(echo);
        let start = tokio::time::Instant::now();
        client.say(said).await;
        client.hear_end().await;
        assert!(matches!(serving.await.unwrap(), Ok(true)), "{said:?}");
        assert_eq!(start.elapsed().as_secs(), 75, "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_has_begun_is_complete_in_time_or_refused() {
    let head = "GET /a HTTP/1.1\r\nhost: x\r\nx: yyyy\r\n\r\n";
    // Silence, or a byte now and then; after a former request, or as the first.
    for (pause, before) in [(60, ""), (1, ""), (1, "GET /b HTTP/1.1\r\nhost: x\r\n\r\n")] {
        let (mut client, serving) = served(echo);
        if !before.is_empty() {
            client.say(before).await;
            client.hear("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/b:").await;
            // The time between requests is not the head's.
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
        let start = tokio::time::Instant::now();
        let (mut read, mut write) = tokio::io::split(client.0);
        let drip = async {
            for byte in head.as_bytes() {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
        };
        let mut heard = String::new();
        let hear = async {
            read.read_to_string(&mut heard).await.unwrap();
            start.elapsed()
        };
        let hear = tokio::select! { () = drip => panic!("served"), time = hear => time };
        assert_eq!(heard, "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(hear.as_secs(), 10);
        drop((read, write));
        assert!(matches!(serving.await.unwrap(), Err(Error::HeadTimeout(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_that_comes_within_its_time_is_served() {
    let (mut client, _serving) = served(echo);
    for byte in "\r\nGET /a HTTP/1.1\r\nhost: x\r\n\r\n".as_bytes() {
        client.0.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/a:").await;
}

#[tokio::test(start_paused = true)]
async fn a_response_head_that_has_begun_is_complete_in_time_or_given_up() {
    let (mut connection, mut server) = dialled();
    let start = tokio::time::Instant::now();
    let (got, ()) = tokio::join!(send(&mut connection, get()), async {
        // It may think as long as it likes, before its response and after one that only informs.
        tokio::time::sleep(Duration::from_secs(100)).await;
        server.say("HTTP/1.1 103 Early Hints\r\n").await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        server.say("\r\n").await;
        tokio::time::sleep(Duration::from_secs(100)).await;
        server.say("HTTP/1.1 200 OK\r\nx: y\r\n").await;
    });
    assert!(matches!(got, Err(Error::HeadTimeout(_))), "{got:?}");
    assert_eq!(start.elapsed().as_secs(), 310);
    assert!(!connection.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn a_length_is_written_anew_in_both_directions() {
    let service = |_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(b"1234567890")));
        response.headers_mut().insert("content-length", HeaderValue::from_static("010"));
        response
    };
    let (mut client, _serving) = served(service);
    client.say("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.hear("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1234567890").await;

    let (mut connection, mut server) = dialled();
    let request = Request::builder().method("POST").uri("/").header("content-length", "005");
    let request = request.body(Full::new(Bytes::from_static(b"abcde"))).unwrap();
    let (got, ()) = tokio::join!(send(&mut connection, request), async {
        server.hear("POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabcde").await;
        server.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    assert_eq!(got.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn no_protocol_is_switched_to_while_a_body_is_unread() {
    let (client, server) = duplex(1000);
    let serving = tokio::spawn(async move {
        let service = |_| async {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response
        };
        serve(server, &Options::default(), service).await.map(drop)
    });
    let mut client = Client(client);
    client.say("POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 9\r\n\r\n").await;
    client.hear("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    client.hear_end().await;
    assert!(serving.await.unwrap().unwrap_err().is_malformed());
}

#[tokio::test(start_paused = true)]
async fn a_response_of_unknown_length_goes_in_chunks_and_to_old_clients_until_the_end() {
    let service = |_| async {
        let (chunks, body) = fed();
        tokio::spawn(async move {
            chunks.send(data("ab")).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            chunks.send(data("c")).await.unwrap();
            chunks
                .send(Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from(3))])))
                .await
                .unwrap();
        });
        Response::new(body)
    };
    let (mut client, _serving) = served(service);
    client.say("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client
        .hear("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 3\r\n\r\n")
        .await;
    client.say("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.hear("HTTP/1.1 200 OK\r\n").await;

    let (mut client, _serving) = served(service);
    client.say("GET / HTTP/1.0\r\n\r\n").await;
    client.hear("HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nabc").await;
    client.hear_end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let (mut client, serving) = served(|_| async {
        let body = StreamBody::new(tokio_stream_of([Ok(data("ab")), Err("gone")]));
        Response::new(body)
    });
    client.say("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.hear("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
    assert!(serving.await.unwrap().is_err());
    client.hear_end().await;

    let (mut client, serving) = served(|_| async {
        let mut response = Response::new(Full::new(Bytes::from_static(b"ab")));
        response.headers_mut().insert("content-length", HeaderValue::from(3));
        response
    });
    client.say("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(matches!(serving.await.unwrap(), Err(Error::Body(_))));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_length_that_breaks_off_is_not_closed_in_good_order() {
    let (mut client, server) = duplex(1000);
    let serving = tokio::spawn(async move {
        let service = |_| async { Response::new(StreamBody::new(tokio_stream_of([Ok(data("ab")), Err("gone")]))) };
        serve(server, &Options::default(), service).await
    });
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();

    let served = serving.await.unwrap();

    assert!(
        matches!(served, Ok(Served::Truncated { error: Error::Body(_), .. })),
        "the caller is to reset it: {served:?}"
    );
    drop(served);
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nab");
}

fn tokio_stream_of<T>(items: impl IntoIterator<Item = T>) -> impl futures_util::Stream<Item = T> + Unpin {
    futures_util::stream::iter(items.into_iter().collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_is_gone_is_dropped() {
    struct Noted(Arc<AtomicUsize>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let noted = dropped.clone();
    let begun = Arc::new(tokio::sync::Notify::new());
    let begins = begun.clone();
    let serving = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let service = |_| {
            let (noted, begins) = (Noted(noted.clone()), begins.clone());
            async move {
                let _noted = noted;
                begins.notify_one();
                std::future::pending::<Response<Empty<Bytes>>>().await
            }
        };
        serve(io, &Options::default(), service).await.map(drop)
    });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begun.notified().await;
    // Unread data, or this option, turn the end into a reset.
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(matches!(serving.await.unwrap(), Err(Error::Io(_))));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

/// Sends a request whole.
async fn send<I, B>(connection: &mut Connection<I>, request: Request<B>) -> Result<Response<Incoming>, Error>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<crate::cut::BoxError>,
{
    let (head, body) = request.into_parts();
    connection.send(&head, body).await
}

/// A connection to a server that the test plays.
fn dialled() -> (Connection<DuplexStream>, Client) {
    let (ours, server) = duplex(1000);
    (Connection::new(ours), Client(server))
}

fn get() -> Request<Empty<Bytes>> {
    Request::builder().uri("/a?b").header("host", "x").body(Empty::new()).unwrap()
}

const GET: &str = "GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_carries_one_request_after_another() {
    let (mut connection, mut server) = dialled();
    for body in ["one", "two"] {
        assert!(connection.is_open());
        let (response, ()) = tokio::join!(send(&mut connection, get()), async {
            server.hear(GET).await;
            server.say("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").await;
        });
        let reading = response.unwrap().into_body().collect();
        assert!(!connection.is_reusable(), "a body is still to come");
        let (body_read, ()) = tokio::join!(reading, server.say(body));
        assert_eq!(body_read.unwrap().to_bytes(), body);
    }
    drop(server);
    assert!(!connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_out_of_turn_gets_no_request() {
    let (connection, mut server) = dialled();
    server.say("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
    assert!(!connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_left_http_is_not_used_again() {
    let connect =
        || Request::builder().method("CONNECT").uri("a:80").header("host", "a:80").body(Empty::new()).unwrap();
    for (request, response) in [
        (get(), "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        (connect(), "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        let (mut connection, mut server) = dialled();
        let (got, ()) = tokio::join!(send(&mut connection, request), server.say(response));
        drop(got.unwrap());
        assert!(!connection.is_reusable(), "{response:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_with_its_response_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
    ] {
        let (mut connection, mut server) = dialled();
        let (got, ()) = tokio::join!(send(&mut connection, get()), server.say(response));
        assert_eq!(got.unwrap().into_body().collect().await.unwrap().to_bytes(), "");
        assert!(!connection.is_reusable(), "{response:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_with_the_connection_where_nothing_else_says_so() {
    let (mut connection, mut server) = dialled();
    let (got, ()) = tokio::join!(send(&mut connection, get()), server.say("HTTP/1.1 200 OK\r\n\r\nabc"));
    drop(server);
    assert_eq!(got.unwrap().into_body().collect().await.unwrap().to_bytes(), "abc");
    assert!(!connection.is_reusable());

    let (mut connection, mut server) = dialled();
    let (got, ()) =
        tokio::join!(send(&mut connection, get()), server.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"));
    drop(server);
    assert!(matches!(got.unwrap().into_body().collect().await, Err(Error::Incomplete)));
}

#[tokio::test(start_paused = true)]
async fn it_is_known_whether_the_server_has_got_anything() {
    let (mut connection, server) = dialled();
    drop(server);
    assert!(matches!(send(&mut connection, get()).await, Err(Error::Unsent(_))));

    let (mut connection, mut server) = dialled();
    let (got, ()) = tokio::join!(send(&mut connection, get()), async move {
        server.hear(GET).await;
    });
    assert!(matches!(got, Err(Error::Closed)), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_request_is_an_answer_and_the_rest_is_sent_beside_it() {
    let (mut connection, mut server) = dialled();
    let (chunks, body) = fed();
    let request = Request::builder().method("POST").uri("/").body(body).unwrap();
    chunks.send(data("ab")).await.unwrap();
    let (got, ()) = tokio::join!(send(&mut connection, request), async {
        server.hear("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n").await;
        server.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n").await;
    });
    let mut answer = got.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
    chunks.send(data("cd")).await.unwrap();
    server.hear("2\r\ncd\r\n").await;
    server.say("0\r\n\r\n").await;
    assert!(answer.frame().await.is_none());
    assert!(!connection.is_reusable(), "the request is still being sent");
    drop(chunks);
    server.hear("0\r\n\r\n").await;
    assert!(connection.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_asked_whether_to_go_on_and_has_not_said_so_gets_no_other_request() {
    let (mut connection, mut server) = dialled();
    let (chunks, body) = fed();
    let request = Request::builder().method("POST").uri("/").header("expect", "y 100-continue").body(body).unwrap();
    let (got, ()) =
        tokio::join!(send(&mut connection, request), server.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(got.unwrap().status(), StatusCode::OK);
    drop(chunks);
    server.hear("POST / HTTP/1.1\r\nexpect: y 100-continue\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(!connection.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_informs_is_given_up() {
    let (mut connection, mut server) = dialled();
    tokio::spawn(async move { while server.0.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {} });
    assert!(matches!(send(&mut connection, get()).await, Err(Error::HeadTooLarge)));
}

#[tokio::test(start_paused = true)]
async fn whoever_lets_go_of_an_answer_ends_its_request() {
    let (mut connection, mut server) = dialled();
    let (chunks, body) = fed();
    let request = Request::builder().method("POST").uri("/").body(body).unwrap();
    let (got, ()) = tokio::join!(send(&mut connection, request), async {
        server.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    });
    drop(got);
    chunks.closed().await;
    assert!(!connection.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn large_bodies_pass_both_ways_through_small_pipes() {
    let (ours, theirs) = duplex(700);
    let large: Bytes = (0..300_000_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
    tokio::spawn(async move {
        serve(theirs, &Options::default(), |request: Request<Incoming>| async { Response::new(request.into_body()) })
            .await
            .map(drop)
    });
    let mut connection = Connection::new(ours);
    for _ in 0..2 {
        let request = Request::builder().method("POST").uri("/").body(Full::new(large.clone())).unwrap();
        let response = send(&mut connection, request).await.unwrap();
        assert_eq!(response.headers()["content-length"], "300000");
        assert!(response.into_body().collect().await.unwrap().to_bytes() == large, "bytes differ");
        assert!(connection.is_open());
    }
}

#[tokio::test]
async fn hyper_is_served_and_serves() {
    use hyper_util::rt::TokioIo;
    let (ours, theirs) = duplex(10_000);
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
        Ok::<_, std::convert::Infallible>(Response::new(request.into_body()))
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(theirs), service));
    let mut connection = Connection::new(ours);
    let (between, client_io) = duplex(10_000);
    // A whole proxy: hyper, ours, hyper.
    let proxying = tokio::spawn(async move {
        let connection = Arc::new(tokio::sync::Mutex::new(&mut connection));
        let service = |request: Request<Incoming>| {
            let connection = connection.clone();
            async move { send(*connection.lock().await, request).await.unwrap() }
        };
        serve(between, &Options::default(), service).await.map(drop)
    });
    let (mut client, driver) = hyper::client::conn::http1::handshake(TokioIo::new(client_io)).await.unwrap();
    tokio::spawn(driver);
    for length in [0, 1, 5000, 200_000] {
        let (chunks, body) = fed();
        let request = Request::builder().method("POST").uri("/").header("host", "x").body(body).unwrap();
        let feed = async move {
            for part in vec![7; length].chunks(3000) {
                chunks.send(Frame::data(Bytes::copy_from_slice(part))).await.unwrap();
            }
        };
        let exchange =
            async { client.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes() };
        let (got, ()) = tokio::join!(exchange, feed);
        assert_eq!(got, vec![7; length]);
    }
    drop(client);
    proxying.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn both_sides_may_leave_http() {
    let (client, server) = duplex(1000);
    let serving = tokio::spawn(async move {
        let service = |_| async {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", HeaderValue::from_static("x"));
            response.extensions_mut().insert(7_u8);
            response
        };
        serve(server, &Options::default(), service).await
    });
    let mut client = Client(client);
    client.say("GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nearly").await;
    client.hear("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await;
    let Served::Switched { read, extensions, .. } = serving.await.unwrap().unwrap() else { panic!("not switched") };
    assert_eq!((&read[..], extensions.get()), (&b"early"[..], Some(&7_u8)));

    let (mut connection, mut server) = dialled();
    let (got, ()) =
        tokio::join!(send(&mut connection, get()), server.say("HTTP/1.1 101 Switching Protocols\r\n\r\nfirst"));
    assert_eq!(got.unwrap().status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(connection.into_parts().unwrap().1, "first");
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_holds_no_buffer() {
    let (client, server) = duplex(1000);
    let shared = Arc::new(connection::Shared::new(server));
    let mut client = Client(client);
    client.say("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut progress = head::Progress::default();
    std::future::poll_fn(|cx| shared.lock().poll_read(cx)).await.unwrap();
    let head = std::future::poll_fn(|cx| shared.lock().poll_head(cx, |read| head::request(read, &mut progress))).await;
    assert!(head.unwrap().is_some());
    assert_eq!(shared.lock().read.capacity(), 0);
}
