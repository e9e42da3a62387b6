//! Detection, by a clock that stands still while everybody waits.

use outrigger_proto::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

async fn run(client: DuplexStream, server: Option<DuplexStream>) -> Detected<DuplexStream> {
    let mut io = Prefixed::new(client);
    let open = async || server.ok_or_else(|| ProxyError::new(ErrorCode::ConnectionRefused, "closed"));
    detect(&mut io, Protocol::Detect, sides(&Learned::default()), open).await.unwrap()
}

fn sides(learned: &Learned) -> Sides<'_> {
    Sides { learned, has_routes: false, hello: Duration::ZERO }
}

/// Of a destination where HTTP has been spoken.
fn http() -> Learned {
    let learned = Learned::default();
    learned.http();
    learned
}

async fn run_learned(client: DuplexStream, server: DuplexStream, learned: &Learned) -> Detected<DuplexStream> {
    let mut io = Prefixed::new(client);
    detect(&mut io, Protocol::Detect, sides(learned), async || Ok(server)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_peer_on_a_busy_machine_is_heard_after_a_server_that_speaks_first() {
    for (says, after, tls) in [
        (Some(&[22, 3, 1, 0, 1, 1][..]), 30, true),
        (Some(&[22, 3, 1, 0, 1, 1]), 300, false),
        (Some(b"EHLO me\r\n"), 30, false),
        (None, 0, false),
    ] {
        let (mut client, a) = duplex(100);
        let (mut server, b) = duplex(100);
        server.write_all(b"220 mail").await.unwrap();
        let learned = Learned::default();
        learned.server_spoke_first();
        let said = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            if let Some(bytes) = says {
                client.write_all(bytes).await.unwrap();
            }
            client
        });

        let mut io = Prefixed::new(a);
        let sides = Sides { learned: &learned, has_routes: false, hello: HELLO };
        let detected = detect(&mut io, Protocol::Detect, sides, async || Ok(b)).await.unwrap();

        match detected {
            Detected::Tls(Some(peer)) => assert!(tls && peer.seen() == b"220 mail"),
            Detected::Opaque(Some(peer)) => assert!(!tls && peer.seen() == b"220 mail"),
            _ => panic!("{says:?} after {after} ms"),
        }
        let _ = said.await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard_at_once() {
    let (_client, a) = duplex(100);
    let (mut server, b) = duplex(100);
    server.write_all(b"220 mail").await.unwrap();
    let start = Instant::now();

    let Detected::Opaque(Some(mut peer)) = run(a, Some(b)).await else { panic!("not opaque") };

    assert!(start.elapsed() <= GRACE + Duration::from_millis(1));
    let mut greeting = [0; 8];
    peer.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 mail");
}

#[tokio::test(start_paused = true)]
async fn late_and_split_http_is_still_http_where_http_is_known() {
    let (mut client, a) = duplex(100);
    let (_server, b) = duplex(100);
    let detecting = tokio::spawn(async move { run_learned(a, b, &http()).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    for byte in b"GET / HTTP/1.1\r\n" {
        client.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }

    assert!(matches!(detecting.await.unwrap(), Detected::Http1));
}

#[tokio::test(start_paused = true)]
async fn half_a_request_line_or_preface_is_bytes_after_ten_seconds_where_http_is_known() {
    for half in [&b"G"[..], b"GET /a", b"PRI * HTTP/2.0\r\n\r\nS", b"\r\n"] {
        for (declared, late) in
            [(Protocol::Detect, false), (Protocol::Detect, true), (Protocol::Http, false), (Protocol::Http2, false)]
        {
            let (mut client, a) = duplex(100);
            let (_server, b) = duplex(100);
            let detecting = tokio::spawn(async move {
                let mut io = Prefixed::new(a);
                detect(&mut io, declared, sides(&http()), async || Ok(b)).await
            });
            if late {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            let start = Instant::now();
            // One byte now and then is no more than one byte.
            for byte in half {
                client.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(STALLED / 2 / half.len() as u32).await;
            }

            match detecting.await.unwrap().unwrap() {
                Detected::Opaque(dialled) => assert!(declared == Protocol::Detect && dialled.is_some() == late),
                // Answered as malformed, or waited for by HTTP's own limit.
                Detected::Http1 => assert!(declared != Protocol::Detect),
                _ => panic!("{declared:?} {}", half.escape_ascii()),
            }
            let took = start.elapsed();
            assert!(took >= STALLED && took <= STALLED + Duration::from_secs(1), "{took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_hello_comes_after_a_failed_dial_is_heard() {
    let (mut client, a) = duplex(100);
    let detecting = tokio::spawn(run(a, None));
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();

    assert!(matches!(detecting.await.unwrap(), Detected::Tls(None)));
}

#[tokio::test(start_paused = true)]
async fn a_preface_split_anywhere_is_http2() {
    for split in 1..24 {
        let (mut client, a) = duplex(100);
        let (_server, b) = duplex(100);
        let detecting = tokio::spawn(async move { run_learned(a, b, &http()).await });
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        client.write_all(&preface[..split]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(&preface[split..]).await.unwrap();

        assert!(matches!(detecting.await.unwrap(), Detected::Http2), "split at {split}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_client_is_served_also_when_the_dial_fails() {
    let (mut client, a) = duplex(100);
    let detecting = tokio::spawn(run(a, None));
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();

    assert!(matches!(detecting.await.unwrap(), Detected::Http1));
}

#[tokio::test(start_paused = true)]
async fn the_second_connection_to_a_server_first_destination_does_not_wait() {
    let learned = Learned::default();
    for limit in [GRACE + Duration::from_millis(1), Duration::ZERO] {
        let (_client, a) = duplex(100);
        let (mut server, b) = duplex(100);
        server.write_all(b"hello").await.unwrap();
        let start = Instant::now();
        let mut io = Prefixed::new(a);
        detect(&mut io, Protocol::Detect, sides(&learned), async || Ok(b)).await.unwrap();
        assert!(start.elapsed() <= limit + Duration::from_millis(1), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_that_could_become_http_waits_a_few_milliseconds_once_and_then_not_at_all() {
    for word in [
        &b"G"[..],
        b"GET",
        b"GET /",
        b"PRI",
        b"PRI * HTTP/2.0\r\n",
        b"mntr",
        b"ruok",
        b"SSH",
        b"\r\n",
        b"\x16",
        b"\x16\x03\x01\x00",
    ] {
        for late in [false, true] {
            let learned = Learned::default();
            for most in [UNDECIDED, Duration::ZERO] {
                let (mut client, a) = duplex(100);
                let (_server, b) = duplex(100);
                let mut io = Prefixed::new(a);
                let say = async {
                    if late {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    client.write_all(word).await.unwrap();
                    Instant::now()
                };
                let detecting = detect(&mut io, Protocol::Detect, sides(&learned), async || Ok(b));
                let (said, detected) = tokio::join!(say, detecting);

                let Detected::Opaque(peer) = detected.unwrap() else { panic!("{}", word.escape_ascii()) };
                assert_eq!(peer.is_some(), late);
                let took = said.elapsed();
                // The clock of tests has steps of a millisecond.
                assert!(took <= most + Duration::from_millis(1), "{}: {took:?}", word.escape_ascii());
                assert_eq!(io.seen(), word);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_request_line_is_waited_for_where_there_are_routes() {
    let (mut client, a) = duplex(100);
    let (_server, b) = duplex(100);
    let mut io = Prefixed::new(a);
    let learned = Learned::default();
    let say = async {
        client.write_all(b"GET / HT").await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        client.write_all(b"TP/1.1\r\n").await.unwrap();
    };
    let sides = Sides { has_routes: true, ..sides(&learned) };

    let ((), detected) = tokio::join!(say, detect(&mut io, Protocol::Detect, sides, async || Ok(b)));

    assert!(matches!(detected.unwrap(), Detected::Http1));
    assert!(learned.is_http());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_side_early_is_still_told_something() {
    for said in [&b""[..], b"G", b"mntr", b"PRI * HTTP", b"\x16", b"*1"] {
        for late in [false, true] {
            for learned in [Learned::default(), http()] {
                let (mut client, a) = duplex(100);
                let (_server, b) = duplex(100);
                let detecting = tokio::spawn(async move { run_learned(a, b, &learned).await });
                if late {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let start = Instant::now();
                client.write_all(said).await.unwrap();
                client.shutdown().await.unwrap();

                let Detected::Opaque(peer) = detecting.await.unwrap() else { panic!("{}", said.escape_ascii()) };
                assert_eq!(peer.is_some(), late, "{}", said.escape_ascii());
                assert!(start.elapsed() <= Duration::from_millis(1), "its end needs no waiting");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_heard_when_the_app_ends_at_once() {
    let (mut client, a) = duplex(100);
    let (server, b) = duplex(100);
    drop(server);
    let mut io = Prefixed::new(a);
    let learned = Learned::default();
    let say = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.write_all(&[22, 3, 1, 0, 1, 1]).await.unwrap();
    };
    let sides = Sides { hello: HELLO, ..sides(&learned) };

    let ((), detected) = tokio::join!(say, detect(&mut io, Protocol::Detect, sides, async || Ok(b)));

    assert!(matches!(detected.unwrap(), Detected::Tls(Some(_))));
    assert!(!learned.server_speaks_first(), "an end is not a word");
}

#[tokio::test(start_paused = true)]
async fn settings_that_come_before_a_busy_client_are_no_server_that_speaks_first() {
    let learned = Learned::default();
    for (says, http2) in
        [(Some(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]), true), (Some(b"\x01\x02"), false), (None, false)]
    {
        let (mut client, a) = duplex(100);
        let (mut server, b) = duplex(100);
        server.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0x40, 0]).await.unwrap();
        let mut io = Prefixed::new(a);
        let say = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            client.write_all(says.unwrap_or_default()).await.unwrap();
        };

        let ((), detected) = tokio::join!(say, detect(&mut io, Protocol::Detect, sides(&learned), async || Ok(b)));

        match detected.unwrap() {
            Detected::Http2 => assert!(http2),
            Detected::Opaque(Some(peer)) => assert!(!http2 && peer.seen().len() == 15),
            _ => panic!("{says:?}"),
        }
        assert!(!learned.server_speaks_first() && !learned.has_words());
    }
}
