//! What can be read of a pod without mesh TLS, and what cannot; and what callers can make its metrics hold.

use std::ops::Range;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Client, Mesh, Pod, Reply, Response, enter, yaml};

use super::hostile::rss;

const WEB: &str = "10.96.0.10";
const STRICT: &str = "  annotations:\n    config.outrigger.io/inbound: strict\n";

/// Sends one request from outside of the mesh; `None`: the connection ended without an answer.
fn send(
    from: &Namespace,
    to: &str,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Response> {
    from.run(|| Client::connect(to)?.send(method, path, headers, body)).unwrap().ok()
}

#[test]
fn plaintext_reads_listed_pages_of_a_strict_port_and_nothing_else() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let args = ["--metrics-port", "4194", "--scrape", "9090/metrics,9090/more", "--health-port", "4192"];
    let web = mesh.pod_with("web-1", "web", STRICT, &args);
    let app = App::echo(&web, 8080, "web-1");
    let pages = App::http(&web, 9090, |_| Reply::ok("a 1\n"));
    let stranger = mesh.bare("stranger");
    let at = |port: u16| format!("{}:{port}", web.ip());
    let status = |port, request, headers: &[(&str, &str)], body: &[u8]| {
        send(&stranger, &at(port), request, headers, body).map(|answer| answer.status)
    };

    let scraper = [("accept", "text/plain"), ("x-original-url", "/admin"), ("cookie", "a=b")];
    for path in ["/metrics", "/more"] {
        assert_eq!(status(9090, ("GET", path), &scraper, b""), Some(200));
    }
    assert_eq!(status(9090, ("HEAD", "/metrics"), &[("connection", "close")], b""), Some(200));
    let seen = pages.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].headers.contains_key("accept"));
    assert!(!seen[0].headers.contains_key("cookie") && !seen[0].headers.contains_key("x-original-url"), "{seen:?}");
    for (request, headers, body) in [
        (("POST", "/metrics"), &[][..], &b""[..]),
        (("GET", "/"), &[], b""),
        (("GET", "/admin"), &[], b""),
        (("GET", "/metrics?target=x"), &[], b""),
        (("GET", "/metrics/../admin"), &[], b""),
        (("GET", "/metrics"), &[], b"body"),
        (("GET", "/metrics"), &[("connection", "upgrade"), ("upgrade", "websocket")], b""),
    ] {
        let answer = send(&stranger, &at(9090), request, headers, body).unwrap();
        assert_eq!((answer.status, answer.header("proxy-status").contains("http_request_denied")), (403, true));
    }
    assert_eq!(status(9090, ("PRI", "*"), &[], b""), Some(400), "no other protocol");
    assert_eq!(pages.count(), 3, "nothing of it came to the application");
    assert_eq!(status(8080, ("GET", "/metrics"), &[], b""), None, "another port is as strict as it was");
    assert_eq!(app.count(), 0);

    let metrics = send(&stranger, &at(4194), ("GET", "/metrics"), &[], b"").unwrap();
    assert!(metrics.status == 200 && metrics.text().contains("outrigger_inbound_open_connections"), "{metrics:?}");
    for request in [("GET", "/config"), ("GET", "/ready"), ("POST", "/leave")] {
        let headers = [("outrigger-action", "leave"), ("host", "localhost")];
        assert_eq!(status(4194, request, &headers, b""), Some(404), "{request:?}");
    }
    assert_eq!(status(4191, ("GET", "/metrics"), &[], b""), None);
    assert_eq!(send(&web, "127.0.0.1:4192", ("GET", "/metrics"), &[], b"").unwrap().status, 404);
}

#[test]
fn scrapers_that_do_not_read_take_no_probe_its_place() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod_with("web-1", "web", STRICT, &["--metrics-port", "4194", "--health-port", "4192"]);
    let scraper = mesh.bare("scraper");
    let at = |port: u16| format!("{}:{port}", web.ip());
    let crowd: Vec<Client> = scraper
        .run(|| {
            let one = |n: usize| {
                let mut client = Client::connect(&at(4194)).unwrap();
                let head: &[u8] =
                    if n.is_multiple_of(2) { b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" } else { b"GET /me" };
                client.write(head).unwrap();
                client
            };
            (0..300).map(one).collect()
        })
        .unwrap();

    for path in ["/ready", "/live"].into_iter().cycle().take(20) {
        assert_eq!(send(&web, "127.0.0.1:4192", ("GET", path), &[], b"").unwrap().status, 200);
    }
    assert_eq!(web.admin("/config").unwrap().status, 200);
    drop(crowd);
    assert_eq!(send(&scraper, &at(4194), ("GET", "/metrics"), &[], b"").unwrap().status, 200);
}

/// Lines of samples.
fn series(pod: &Pod) -> usize {
    let page = pod.admin("/metrics").unwrap().text();
    page.lines().filter(|line| !line.starts_with('#')).count()
}

/// Sends requests of which each has a method, a path, a host, an agent and a header of its own, and every other one is a gRPC call.
fn invent(to: &str, requests: Range<u32>) {
    let mut client = Client::connect(to).unwrap();
    for n in requests {
        let (method, path) = (format!("M{n}"), format!("/{n}/{}", n * 7919));
        let (host, agent, name) = (format!("h{n}.example"), format!("agent/{n}"), format!("x-{n}"));
        let headers = [("host", &*host), ("user-agent", &*agent), (&*name, "x"), ("content-type", "application/grpc")];
        let headers = if n.is_multiple_of(2) { &headers[..3] } else { &headers[..] };
        client.send(&method, &path, headers, &[]).unwrap();
    }
}

#[test]
fn hosts_paths_methods_and_agents_make_no_series() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let mut web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |_| Reply::ok(""));
    let mut client = mesh.pod("client-1", "client");
    let stranger = mesh.bare("stranger");
    let direct = format!("{}:8080", web.ip());
    let attack = |client: &Namespace, requests: Range<u32>| {
        client.run(|| invent(&format!("{WEB}:80"), requests.clone())).unwrap();
        stranger.run(|| invent(&direct, requests.clone())).unwrap();
    };
    // All that such requests make of series, and of memory that is kept, is there after the first.
    attack(&client, 0..1000);
    let before = [series(&web), series(&client)];
    let memory = [rss(&mut web), rss(&mut client)];

    attack(&client, 1000..6000);

    assert_eq!([series(&web), series(&client)], before);
    for (pod, before) in [&mut web, &mut client].into_iter().zip(memory) {
        let after = rss(pod);
        // A histogram for each would be more than ten times as much.
        assert!(after < before + 4 * 1024, "{}: {before} KiB grew to {after} KiB", pod.name());
    }
}
