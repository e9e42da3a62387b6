//! A process without descriptors. Alone in its file: the other tests of a process would have none either.

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_daemon::{Incoming, listen};
use rustix::process::{Resource, getrlimit, setrlimit};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn without_descriptors_accepting_waits_says_so_once_and_goes_on_when_there_are_some() {
    let log = Log::default();
    let lines = log.clone();
    tracing_subscriber::fmt().with_writer(move || log.clone()).init();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = Incoming::new(listener, "test");
    let client = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(64);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }

    let waited = tokio::time::timeout(Duration::from_millis(400), incoming.accept()).await;
    assert!(waited.is_err(), "there was no descriptor to accept with");
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(logged.lines().count(), 1, "{logged}");
    assert!(logged.contains("accept failed; retrying") && logged.contains("Too many open files"), "{logged}");

    drop(all);
    let (_, peer) = tokio::time::timeout(Duration::from_secs(30), incoming.accept()).await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
}
