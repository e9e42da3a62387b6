//! What heads say, byte for byte.

use super::{Heard, Place, Way, answer, head};

/// Answers with the request's own head.
async fn mirrors(mut stream: tokio::net::TcpStream, _: Heard) {
    if let Some(head) = head(&mut stream).await {
        answer(&mut stream, &head).await;
    }
}

/// The target that the app has seen, or the answer in its place.
fn target_of(way: &Way<'_>, target: &[u8]) -> String {
    let request = [b"GET ", target, b" HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"].concat();
    let answer = way.say(&request).escape_ascii().to_string();
    let seen = answer.split("\\r\\n\\r\\nGET ").nth(1).and_then(|rest| rest.split(" HTTP/1.1").next());
    seen.map_or_else(|| answer.clone(), str::to_owned)
}

#[test]
fn targets_arrive_as_they_were_written() {
    let Some(place) = Place::new("", mirrors) else { return };
    let targets: [&[u8]; 19] = [
        b"/a;b=c/d",
        b"/a%2Fb%2fc",
        b"//a///b",
        b"/?q={\"a\":[1|2]}",
        b"/?q=<x>",
        b"/<x>",
        b"/a^b`c",
        b"/q?x=\"y\"",
        b"/caf\xc3\xa9",
        b"/?q=caf\xe9",
        b"/caf\xe9",
        b"/?",
        b"/?a=1?b=2",
        b"/%zz%",
        b"/a+b%20c",
        b"/a?x=%00",
        b"/a?x=[]&y={}",
        b"/a'b!*(),$&",
        b"/a\\b",
    ];
    for target in targets {
        let want = target_of(&place.plain(), target);
        assert_eq!(want, target.escape_ascii().to_string());
        for way in place.meshed() {
            assert_eq!(target_of(&way, target), want, "{}", way.name);
        }
    }
}

#[test]
fn an_app_may_be_a_proxy() {
    let Some(place) = Place::new("", mirrors) else { return };
    for way in std::iter::once(place.plain()).chain(place.meshed()) {
        let request = b"GET http://example.com/page?x=1 HTTP/1.1\r\nhost: example.com\r\n\
            proxy-authorization: Basic dTpw\r\nconnection: close\r\n\r\n";
        let said = String::from_utf8(way.say(request)).unwrap().to_ascii_lowercase();
        assert!(said.contains("\r\n\r\nget http://example.com/page?x=1 http/1.1\r\n"), "{}: {said}", way.name);
        assert!(said.contains("\r\nhost: example.com\r\n"), "{}: {said}", way.name);
        assert!(said.contains("\r\nproxy-authorization: basic dtpw\r\n"), "{}: {said}", way.name);
    }
}

#[test]
fn a_proxy_may_ask_for_a_password() {
    let asks = async |mut stream: tokio::net::TcpStream, _: Heard| {
        if head(&mut stream).await.is_some() {
            let asked = b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"x\"\r\n\
                content-length: 0\r\nconnection: close\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, asked).await;
        }
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(asks(stream, heard))) else { return };
    for way in std::iter::once(place.plain()).chain(place.meshed()) {
        let said =
            String::from_utf8(way.say(b"GET http://a/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).unwrap();
        assert!(said.starts_with("HTTP/1.1 407 "), "{}: {said}", way.name);
        assert!(said.to_ascii_lowercase().contains("\r\nproxy-authenticate: basic realm=\"x\"\r\n"), "{}", way.name);
    }
}

const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: web, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /admin}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: admin}]}}]
    backendRefs: [{name: web, port: 80}]
  - backendRefs: [{name: web, port: 80}]
";

#[test]
fn a_path_of_several_readings_passes_where_all_are_of_one_rule() {
    let Some(place) = Place::new(ROUTES, mirrors) else { return };
    let [over_http1, over_http2, ..] = place.meshed();
    let passes: [&[u8]; 8] = [
        b"/api/queues/%2F/task",
        b"/@scope%2Fpkg",
        b"/v2/keys/a%5Cb",
        b"/files/100%",
        b"/search/a\\b",
        b"/x/..;/y",
        b"/admin/a%2Fb",
        b"/files/a%00",
    ];
    let refused: [&[u8]; 6] = [
        b"/admin/..%2fx",
        b"/x%2f..%2fadmin",
        b"/x\\..\\admin",
        b"/x/..;/admin",
        b"/x/%u002e%u002e/admin",
        b"/admin%00x",
    ];
    for way in [over_http1, over_http2] {
        for target in passes {
            assert_eq!(target_of(&way, target), target.escape_ascii().to_string(), "{}", way.name);
        }
        for target in refused {
            let said = target_of(&way, target);
            assert!(said.starts_with("HTTP/1.1 400 "), "{}: {}: {said}", way.name, target.escape_ascii());
        }
    }
}

#[test]
fn what_cannot_be_read_is_answered_with_the_code() {
    let Some(place) = Place::new("", mirrors) else { return };
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(300_000));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(65_100));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(2_001));
    let malformed = "GET / HTTP/1.1\r\nhost: a\r\nbroken header\r\n\r\n";
    for (request, status) in [(malformed, "400"), (&*large, "431"), (&*many, "431"), (&*long, "414")] {
        for way in place.over_http() {
            let said = String::from_utf8(way.say(request.as_bytes())).unwrap();
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {said}", way.name);
            assert!(said.contains("\r\nproxy-status: outrigger-"), "{}: {said}", way.name);
            assert!(said.contains("\r\n\r\noutrigger: E016 http_protocol_error: "), "{}: {said}", way.name);
        }
    }
}

#[test]
fn names_keep_their_case_and_fields_their_order() {
    let shouts = async |mut stream: tokio::net::TcpStream, _: Heard| {
        let Some(head) = head(&mut stream).await else { return };
        let fields = "SOAPAction: \"urn:y\"\r\nX-Dup: 1\r\nX-Other: 2\r\nX-Dup: 3\r\nConnection: close\r\nETag: x\r\n";
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", head.len());
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &[answer.as_bytes(), &head].concat()).await;
    };
    let Some(place) = Place::new("", move |stream, heard| Box::pin(shouts(stream, heard))) else { return };
    let request =
        b"GET /p HTTP/1.1\r\nHost: Web.Shop:80\r\nX-API-Key: 1\r\nConnection: close\r\nSOAPAction: \"urn:x\"\r\n\
        x_under_score: 2\r\nX-Empty:\r\nX-Dup: a\r\nX-Other: b\r\nX-Dup: c\r\nX-Latin: caf\xe9\r\n\r\n";
    let told = |way: &Way<'_>| {
        let said = way.say(request).escape_ascii().to_string();
        // The connection is each hop's own matter, and white space around a value nobody's. The length is that of the head without it.
        let lines = said.split("\\r\\n").map(|line| match line.split_once(": ") {
            Some((name @ "Content-Length", _)) => name.to_owned(),
            _ => line.trim_end().to_owned(),
        });
        lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:")).collect::<Vec<_>>()
    };

    let want = told(&place.plain());
    let [http1, _, _, server] = place.meshed();
    for way in [http1, server] {
        assert_eq!(told(&way), want, "{}", way.name);
    }
}
