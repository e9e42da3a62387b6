//! After an error in a body nothing that follows is read as a message, in whatever order the answer, the body and its reader come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::sleep;

use super::*;

/// Chunks that are none, up to and with the place where the reader must give up.
fn malformed() -> impl Strategy<Value = String> {
    let fixed = [
        "zz\r\n",
        "+5\r\n",
        "-5\r\n",
        "5 x\r\n",
        "0x5\r\n",
        "5\n",
        "5;a\n",
        "5;a\rb\r\n",
        "\r\n",
        "\n",
        ";a\r\n",
        "10000000000000005\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "3\r\nabc0\r\n",
        "0\r\nx y: z\r\n\r\n",
        "0\r\nno colon\r\n",
        "0\r\n folded: 1\r\n\r\n",
    ];
    let long = format!("5;{}\r\n", "x".repeat(5000));
    let fixed = fixed.map(str::to_owned).into_iter().chain([long]).collect::<Vec<_>>();
    (prop::sample::select(vec!["", "2\r\nok\r\n", "1;x=y\r\na\r\n2\r\nbc\r\n"]), prop::sample::select(fixed))
        .prop_map(|(before, bad)| format!("{before}{bad}"))
}

/// What follows it, and is a message for a reader that goes on.
fn rest() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["0\r\n\r\n", "\r\n0\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n", "\r\n\r\n", ""])
}

/// What becomes of a body's rest.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Dropped,
    /// It is read on, to its end or error.
    Reads,
    /// It is read on, and again after its error.
    Insists,
    /// It is held unread for so long, milliseconds, and then dropped.
    Holds(u64),
}

fn reader() -> impl Strategy<Value = Reader> {
    prop_oneof![Just(Reader::Dropped), Just(Reader::Reads), Just(Reader::Insists), (0_u64..50).prop_map(Reader::Holds),]
}

#[derive(Clone, Debug)]
struct Schedule {
    /// Frames of the body that are read before the answer.
    reads_first: usize,
    /// The answer comes so long after that, milliseconds.
    answers_after: u64,
    /// The answer's own body takes so long, milliseconds; `None`: it has none.
    answer_takes: Option<u64>,
    reader: Reader,
    /// The pieces in which the bytes come, and the time between them, milliseconds.
    piece: usize,
    pause: u64,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let answer = (0_usize..3, 0_u64..20, prop::option::of(0_u64..40));
    (answer, reader(), prop_oneof![1_usize..40, Just(10_000)], 0_u64..5).prop_map(|(answer, reader, piece, pause)| {
        let (reads_first, answers_after, answer_takes) = answer;
        Schedule { reads_first, answers_after, answer_takes, reader, piece, pause }
    })
}

async fn read_on(mut body: Incoming, reader: Reader) {
    match reader {
        Reader::Dropped => {}
        Reader::Holds(time) => sleep(Duration::from_millis(time)).await,
        Reader::Reads => while let Some(Ok(_)) = body.frame().await {},
        Reader::Insists => {
            let mut failed = false;
            for _ in 0..20 {
                match body.frame().await {
                    None => assert!(!failed, "a body that has failed has ended in good order"),
                    Some(frame) => failed |= frame.is_err(),
                }
            }
        }
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime starts").block_on(test)
}

/// Writes in pieces; the other side may close before it has read everything.
async fn write(mut to: impl AsyncWriteExt + Unpin, bytes: &str, piece: usize, pause: u64) {
    for piece in bytes.as_bytes().chunks(piece) {
        if to.write_all(piece).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Returns how many requests the service got of these bytes, how many answers the client, and how serving ended.
async fn serve_schedule(bytes: &str, schedule: Schedule) -> (usize, usize, Result<(), Error>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let (client, server) = duplex(1 << 16);
    let counted = requests.clone();
    let Schedule { piece, pause, .. } = schedule;
    let service = move |request: Request<Incoming>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let schedule = schedule.clone();
        async move {
            let mut body = request.into_body();
            for _ in 0..schedule.reads_first {
                // What fails here fails again.
                let _ = body.frame().await;
            }
            sleep(Duration::from_millis(schedule.answers_after)).await;
            tokio::spawn(read_on(body, schedule.reader));
            let answer = schedule.answer_takes.map(|time| async move {
                sleep(Duration::from_millis(time)).await;
                Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"x")))
            });
            match answer {
                None => Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync()),
                Some(frame) => Response::new(StreamBody::new(futures_util::stream::once(frame)).boxed_unsync()),
            }
        }
    };
    let serving = tokio::spawn(async move { serve(server, &Options::default(), service).await.map(drop) });
    let (mut from, to) = tokio::io::split(client);
    let mut heard = Vec::new();
    let hearing = async {
        // A connection that is cut has said what it said.
        let _ = from.read_to_end(&mut heard).await;
    };
    let ((), ()) = tokio::join!(write(to, bytes, piece, pause), hearing);
    let answers = String::from_utf8_lossy(&heard).matches("HTTP/1.1 ").count();
    (requests.load(Ordering::Relaxed), answers, serving.await.expect("serving does not panic"))
}

/// Returns whether a connection could carry a request after this answer, read so.
async fn ask_schedule(answer: &str, schedule: Schedule) -> bool {
    let (client, mut server) = duplex(1 << 16);
    let Schedule { piece, pause, reads_first, reader, .. } = schedule;
    let answer = answer.to_owned();
    tokio::spawn(async move {
        write(&mut server, &answer, piece, pause).await;
        // It stays open, as a server's that keeps connections.
        let _ = tokio::io::copy(&mut server, &mut tokio::io::sink()).await;
    });
    let mut connection = Connection::new(client);
    let request = || Request::builder().uri("/").header("host", "x").body(Empty::<Bytes>::new()).expect("a request");
    let (head, body) = request().into_parts();
    let mut body = connection.send(&head, body).await.expect("an answer").into_body();
    for _ in 0..reads_first {
        // What fails here fails again.
        let _ = body.frame().await;
    }
    tokio::spawn(read_on(body, reader));
    for _ in 0..100 {
        if connection.is_reusable() || connection.is_open() {
            return true;
        }
        sleep(Duration::from_millis(1)).await;
    }
    let (head, body) = request().into_parts();
    !matches!(connection.send(&head, body).await, Err(Error::Unsent(_)))
}

proptest! {
    #[test]
    fn nothing_is_a_request_after_a_body_that_cannot_be_read(
        bad in malformed(),
        rest in rest(),
        schedule in schedule(),
    ) {
        let head = "POST /first HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{bad}{rest}GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n");
        let (requests, answers, _) = run(serve_schedule(&bytes, schedule));
        prop_assert_eq!((requests, answers), (1, 1));
    }

    #[test]
    fn every_request_arrives_after_a_body_that_can_be_read(mut schedule in schedule()) {
        schedule.reader = Reader::Reads;
        let bytes = "POST /first HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nx: y\r\n\r\n\
            GET /second HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let (requests, answers, served) = run(serve_schedule(bytes, schedule));
        prop_assert_eq!((requests, answers), (2, 2));
        prop_assert!(served.is_ok());
    }

    #[test]
    fn nothing_is_an_answer_after_a_body_that_cannot_be_read(
        bad in malformed(),
        rest in rest(),
        schedule in schedule(),
    ) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bad}{rest}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
        );
        prop_assert!(!run(ask_schedule(&answer, schedule)));
    }
}
