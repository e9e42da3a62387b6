//! What comes before an answer, and after it: responses that only inform, `Expect`, trailers.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Heard, Place, Way, answer, ends, head, read_until, target};

#[test]
fn responses_that_only_inform_come_at_once() {
    let informs = async |mut stream: tokio::net::TcpStream, _: Heard| {
        if head(&mut stream).await.is_none() {
            return;
        }
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").await.unwrap();
        stream.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.unwrap();
        // The client goes on when it has heard of both.
        if stream.read_u8().await.is_err() {
            answer(&mut stream, b"done").await;
        }
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(informs(stream, heard))) else { return };
    let told = |way: &Way<'_>| {
        let mut stream = way.dial();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
        let before = read_until(&mut stream, "102 Processing\r\n\r\n");
        let after = ends(&mut stream);
        (before.to_ascii_lowercase(), after.ends_with("done"))
    };

    let want = told(&place.plain());
    assert!(want.1 && want.0.contains("link: </a.css>"), "{want:?}");
    for way in place.over_http() {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}

/// Asks for the body where the path says so, and answers with its length.
async fn decides(mut stream: tokio::net::TcpStream, heard: Heard) {
    let Some(head) = head(&mut stream).await else { return };
    if target(&head) == "/refused" {
        let refused = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(refused).await.unwrap();
        let _ = stream.shutdown().await;
        let mut more = Vec::new();
        let _ = stream.read_to_end(&mut more).await;
        heard.lock().unwrap().push(format!("{} bytes", more.len()));
        return;
    }
    if target(&head) == "/asked" {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    }
    let mut body = [0; 5];
    stream.read_exact(&mut body).await.unwrap();
    answer(&mut stream, &body).await;
}

#[test]
fn the_app_decides_whether_a_body_is_sent() {
    let Some(place) = Place::new("", decides) else { return };
    let ask = |way: &Way<'_>, path: &str| {
        let mut stream = way.dial();
        write!(stream, "POST {path} HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
            .unwrap();
        stream
    };
    let told = |way: &Way<'_>| {
        let mut refused = ask(way, "/refused");
        let refusal = read_until(&mut refused, "\r\n\r\n");
        drop(refused);
        outrigger_tests::wait::until_true("the app has seen all", || !place.heard.lock().unwrap().is_empty());
        let uploaded = place.take_heard();

        let mut asked = ask(way, "/asked");
        let word = read_until(&mut asked, "\r\n\r\n");
        asked.write_all(b"12345").unwrap();
        let answer = read_until(&mut asked, "12345");

        // Who hears nothing may send it all the same.
        let mut silent = ask(way, "/silent");
        silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let nothing = std::io::Read::read(&mut silent, &mut [0; 1]).is_err();
        silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        silent.write_all(b"67890").unwrap();
        let late = read_until(&mut silent, "67890");
        let status = |text: &str| text.lines().next().map(str::to_owned);
        (status(&refusal), uploaded, status(&word), status(&answer), nothing, status(&late))
    };

    let want = told(&place.plain());
    assert_eq!((&*want.1, want.4), (&["0 bytes".to_owned()][..], true), "{want:?}");
    for way in place.meshed() {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}

#[test]
fn trailers_arrive_both_ways_without_being_asked_for() {
    let trailing = async |mut stream: tokio::net::TcpStream, heard: Heard| {
        if head(&mut stream).await.is_none() {
            return;
        }
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
        let sum = body.windows(10).any(|part| part.eq_ignore_ascii_case(b"x-sum: abc"));
        heard.lock().unwrap().push(format!("sum: {sum}"));
        let whole = b"HTTP/1.1 200 OK\r\ntrailer: x-app\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
            2\r\nok\r\n0\r\nx-app: done\r\n\r\n";
        stream.write_all(whole).await.unwrap();
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(trailing(stream, heard))) else { return };
    let told = |way: &Way<'_>| {
        let request = b"POST / HTTP/1.1\r\nhost: web\r\ntrailer: x-sum\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
            2\r\nhi\r\n0\r\nx-sum: abc\r\n\r\n";
        let said = String::from_utf8(way.say(request)).unwrap().to_ascii_lowercase();
        (said.contains("\r\ntrailer: x-app\r\n"), said.contains("0\r\nx-app: done\r\n\r\n"), place.take_heard())
    };

    let want = told(&place.plain());
    assert_eq!(want, (true, true, vec!["sum: true".to_owned()]));
    for way in place.meshed() {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}
