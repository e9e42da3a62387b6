//! An application closes connections that lie idle, and requests cross its FIN. What its system has provably not taken is sent again, POST too.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outrigger_tests::{Client, Mesh, Response, enter};

/// Requests, each as likely as not to cross a FIN.
const REQUESTS: usize = 2_000;

/// After how long the server closes; the client writes at that moment, give or take some microseconds.
const IDLE: Duration = Duration::from_micros(1_500);

/// What the server saw, and how often it closed.
#[derive(Default)]
struct Record {
    processed: Mutex<BTreeMap<String, usize>>,
    closed: AtomicUsize,
    over: AtomicBool,
}

/// Waits until a moment, to some microseconds.
fn until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()).saturating_sub(Duration::from_micros(300)));
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

/// Answers requests, whose heads come whole with their bodies; closes when there is none in time.
fn serve(mut stream: TcpStream, record: &Record) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut first = true;
    loop {
        if !first {
            until(Instant::now() + IDLE);
            stream.set_nonblocking(true)?;
        }
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                record.closed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(false)?;
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let (_, body) = text.split_once("\r\n\r\n").expect("a request comes in one piece");
        *record.processed.lock().unwrap().entry(body.to_owned()).or_default() += 1;
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
        first = false;
    }
}

#[test]
fn a_post_that_crosses_a_fin_is_processed_once() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, "");
    let web = mesh.pod("web-1", "web");
    let record = Arc::new(Record::default());
    let (served, address) = (record.clone(), format!("{}:8080", web.ip()));
    let listener = web.run_in(|| TcpListener::bind("0.0.0.0:8080")).unwrap();
    let server = web
        .spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if served.over.load(Ordering::Relaxed) {
                    return;
                }
                let record = served.clone();
                std::thread::spawn(move || serve(stream, &record));
            }
        })
        .unwrap();
    let outside = mesh.bare("outside");

    let answers: Vec<Response> = outside
        .run(|| {
            let mut client = Client::connect(&address).unwrap();
            let mut wanders: u64 = 1;
            let mut ask = |n: usize| {
                // From early to late, so that some cross whatever the machine's pace is.
                wanders = wanders.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                until(
                    Instant::now() + IDLE - Duration::from_micros(400) + Duration::from_micros((wanders >> 33) % 800),
                );
                client.send("POST", "/", &[], format!("request {n}").as_bytes()).unwrap()
            };
            (0..REQUESTS).map(&mut ask).collect()
        })
        .unwrap();

    record.over.store(true, Ordering::Relaxed);
    let _ = web.run_in(|| TcpStream::connect("127.0.0.1:8080"));
    server.join().unwrap().unwrap();
    let processed = record.processed.lock().unwrap().clone();
    let twice: Vec<_> = processed.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "processed more than once: {twice:?}");
    let mut resets = 0;
    for (n, answer) in answers.iter().enumerate() {
        let body = format!("request {n}");
        if answer.status == 200 {
            assert_eq!((answer.text(), processed.get(&body)), (body, Some(&1)));
            continue;
        }
        assert_eq!((answer.status, processed.get(&body)), (502, None));
        resets += 1;
    }
    // The server closed with a request unread: its system says so by a reset, which proves nothing. All else is sent again.
    let log = web.log();
    let failed: Vec<_> = log.lines().filter(|line| line.contains("\"http.response.status_code\":502")).collect();
    let unproven: Vec<_> = failed.iter().filter(|line| !line.contains("os error 104")).collect();
    assert!(unproven.is_empty(), "could have been sent again: {unproven:#?}");
    assert_eq!(failed.len(), resets);
    let closed = record.closed.load(Ordering::Relaxed);
    let again = log.matches("\"outrigger.attempts\":2").count();
    eprintln!("{REQUESTS} requests, {closed} connections closed idle: {again} sent again, {resets} lost to a reset");
}
