//! HTTP between meshed and unmeshed pods, in all its forms.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use outrigger_tests::{App, Client, Mesh, Pod, Reply, Seen, client, enter, wait, yaml};

const WEB: &str = "10.96.0.10";

fn web() -> String {
    yaml::service("web", WEB, 80, 8080)
}

#[test]
fn a_request_reaches_a_meshed_app_over_mutual_tls() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{WEB}/hello?a=b"));

    assert_eq!((response.status, response.header("x-app")), (200, "web-1"), "{}", response.text());
    assert_eq!(response.json()["path"], "/hello?a=b");
    let config = client.config();
    assert_eq!(config["backends"][0]["endpoints"][0]["identity"], "spiffe://mesh.local/ns/shop/sa/web");
}

#[test]
fn no_plaintext_is_on_the_network_between_meshed_pods() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let capture = web.folder().join("packets");
    let mut command = Command::new("tcpdump");
    command.args(["-i", "eth0", "-U", "-w"]).arg(&capture).args(["tcp", "port", "8080"]);
    let mut sniffer = web.start_program("tcpdump", &mut command);
    wait::until_true("tcpdump listens", || sniffer.output().contains("listening on"));

    let response = client.connect(&format!("{WEB}:80")).send("POST", "/", &[], b"a secret nobody may read").unwrap();
    assert!(response.text().contains("a secret nobody may read"));

    wait::until_true("packets are written", || std::fs::metadata(&capture).is_ok_and(|file| file.len() > 3000));
    sniffer.terminate();
    sniffer.ended();
    let packets = std::fs::read(&capture).unwrap();
    let has = |text: &[u8]| packets.windows(text.len()).any(|window| window == text);
    assert!(has(b"outrigger/http1"), "the handshake was captured");
    assert!(!has(b"a secret nobody may read") && !has(b"POST /"), "plaintext on the network");
}

#[test]
fn http1_keeps_its_connection_its_chunks_and_its_trailers() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::tcp(&web, 8080, |stream| {
        Box::pin(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = stream;
            let mut request = Vec::new();
            while !request.windows(5).any(|w| w == b"0\r\n\r\n" || w == b"\n\r\n\r\n")
                && !request.ends_with(b"x-end: 1\r\n\r\n")
            {
                let mut buffer = [0; 4096];
                match stream.read(&mut buffer).await {
                    Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            let told = String::from_utf8_lossy(&request).into_owned();
            let told = if told.contains("x-end: 1") { "with trailers" } else { "without" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n{:x}\r\n{told}\r\n0\r\nx-sum: 42\r\n\r\n",
                told.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        })
    });
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    for _ in 0..2 {
        let headers = [("transfer-encoding", "chunked"), ("trailer", "x-end"), ("te", "trailers")];
        let answer = connection.send("POST", "/", &headers, b"5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n").unwrap();
        assert_eq!(answer.text(), "with trailers");
        assert_eq!(answer.header("x-sum"), "42", "{:?}", answer.headers);
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    connection.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").unwrap();
    let mut line = String::new();
    connection.raw().read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "HTTP/1.1 100 Continue");
    connection.raw().read_line(&mut line).unwrap();
    connection.write(b"hello").unwrap();

    assert_eq!(connection.read(false).unwrap().json()["body"], "hello");
}

/// An app that answers the head of a request with this one, tells in it how many bytes came too early, and echoes.
fn echoes_after(pod: &Pod, answer: &'static str) -> App {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    App::tcp(pod, 8080, move |mut stream| {
        Box::pin(async move {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let mut early = request.len() - end;
            if let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
                early += n;
            }
            let head = format!("HTTP/1.1 {answer}\r\nx-early: {early}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            while let Ok(n) = stream.read(&mut buffer).await {
                if n == 0 || stream.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        })
    })
}

#[test]
fn an_upgrade_carries_bytes_both_ways_and_none_before_the_app_agrees() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = echoes_after(&web, "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo");
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    // The client does not wait for the answer.
    connection
        .write(b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nearly bytes")
        .unwrap();
    let answer = connection.read(false).unwrap();
    assert_eq!((answer.status, answer.header("upgrade"), answer.header("x-early")), (101, "echo", "0"));
    connection.write(b", and later ones").unwrap();
    let mut echoed = [0; 27];
    connection.raw().read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"early bytes, and later ones");
}

#[test]
fn a_tunnel_by_connect_carries_bytes_both_ways_over_both_wire_forms() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = echoes_after(&web, "200 OK");

    for wire in ["http1", "http2"] {
        let client = mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire]);
        let mut connection = client.connect(&format!("{WEB}:80"));
        connection.write(b"CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\nhello").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.raw().read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-early: 0"), "{wire}: {answer}");

        connection.write(b", tunnel").unwrap();

        let mut echoed = [0; 13];
        connection.raw().read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"hello, tunnel", "{wire}");
        assert_eq!(client.metric("http_client_request_duration_seconds_count", &["tls=\"mutual\""]), 1.0);
    }
}

#[test]
fn an_unmeshed_client_reaches_a_meshed_app_and_the_other_way_round() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let outside = mesh.bare("outside");
    let _other = App::echo(&outside, 9090, "outside");

    let url = format!("http://{}:8080/in", web.ip());
    let inward = outside.run(|| client::try_get(&url)).unwrap().unwrap();
    let outward = web.get(&format!("http://{}:9090/out", outside.v4()));

    assert_eq!((inward.status, inward.header("x-app")), (200, "web-1"));
    assert_eq!((outward.status, outward.header("x-app")), (200, "outside"));
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");

    let by_service = web.get(&format!("http://{WEB}/"));
    let by_address = web.get(&format!("http://{}:8080/", web.ip()));

    assert_eq!(by_service.header("x-app"), "web-1", "{}", by_service.text());
    assert_eq!(by_address.header("x-app"), "web-1");
}

#[test]
fn ipv6_works_like_ipv4() {
    let Some(sandbox) = enter() else { return };
    let options = outrigger_tests::Options { ipv6: true, ..Default::default() };
    let mut mesh = Mesh::start_with(sandbox, &yaml::service("web", "fd96::10", 80, 8080), options);
    let mut pod = |name: &str, app: &str| {
        let namespace = mesh.bare(name);
        mesh.write(&format!("{name}.yaml"), &yaml::workload(name, app, &namespace.v6().to_string(), ""));
        mesh.pod_in(namespace, name, &[])
    };
    let (web, client) = (pod("web-1", "web"), pod("client-1", "client"));
    let _app = App::echo(&web, 8080, "web-1");

    let response = client.get("http://[fd96::10]/");

    assert_eq!((response.status, response.header("x-app")), (200, "web-1"), "{}", response.text());
    let config = client.config();
    assert_eq!(config["backends"][0]["endpoints"][0]["identity"], "spiffe://mesh.local/ns/shop/sa/web");
}

#[test]
fn both_wire_forms_carry_http1() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    for (name, wire) in [("client-1", "http1"), ("client-2", "http2")] {
        let client = mesh.pod_with(name, "client", "", &["--wire", wire]);
        let mut connection = client.connect(&format!("{WEB}:80"));
        for (method, body) in [("GET", ""), ("POST", "hello"), ("PUT", "again")] {
            let told = connection.send(method, "/a?b=c", &[("x-kept", "1")], body.as_bytes()).unwrap().json();
            assert_eq!(
                (&told["method"], &told["body"], &told["path"]),
                (&method.into(), &body.into(), &"/a?b=c".into())
            );
            assert_eq!(told["version"], "HTTP/1.1", "the app is spoken to as the client spoke ({wire})");
            assert_eq!(told["headers"]["host"], format!("{WEB}:80"));
            assert_eq!(told["headers"]["x-kept"], "1");
        }
        let head = connection.send("HEAD", "/", &[], &[]).unwrap();
        assert_eq!(head.status, 200);
    }
    assert_eq!(app.count(), 8);
}

#[test]
fn http2_with_prior_knowledge_stays_http2() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");

    let url = format!("http://{WEB}/two");
    let told = client.stdout("curl", &["--silent", "--show-error", "--http2-prior-knowledge", "-d", "body", &url]);

    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["version"], &told["body"]), (&"HTTP/2.0".into(), &"body".into()));
}

#[test]
fn a_large_download_arrives_whole() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let body: Vec<u8> = (0..20_000_000_u32).map(|i| (i % 251) as u8).collect();
    let served = body.clone();
    let _app = App::http(&web, 8080, move |_| Reply::ok(served.clone()));
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{WEB}/"));

    assert!(response.body == body, "{} bytes", response.body.len());
}

#[test]
fn a_crowd_of_requests_of_a_pod_to_its_own_service_is_answered() {
    let Some(sandbox) = enter() else { return };
    let services = [("by-load", "10.96.0.10"), ("http2", "10.96.0.11")];
    let yaml: String = services.map(|(wire, address)| yaml::service(wire, address, 80, 8080)).concat();
    let mut mesh = Mesh::start(sandbox, &yaml);
    for (wire, address) in services {
        let web = mesh.pod_with(&format!("{wire}-1"), wire, "", &["--wire", wire]);
        // It takes its time, so that all are under way at once.
        let app = App::http(&web, 8080, |_| Reply::ok("told").after(Duration::from_millis(10)));

        let client = || {
            for _ in 0..10 {
                let mut connection = web.connect(&format!("{address}:80"));
                let answer = connection.send("GET", "/a?b", &[("host", "web"), ("connection", "close")], b"").unwrap();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..40).map(|_| scope.spawn(client)).collect();
            clients.into_iter().for_each(|client| client.join().expect("every request is answered"));
        });

        let seen = app.seen();
        assert_eq!(seen.len(), 400);
        let said = |seen: &Seen| (&*seen.path, &*seen.headers["host"], &*seen.version) == ("/a?b", "web", "HTTP/1.1");
        assert!(seen.iter().all(said), "{wire}: {seen:#?}");
    }
}

#[test]
fn a_connection_to_the_sidecar_itself_is_closed_and_never_a_loop() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let outside = mesh.bare("outside");

    for (from_outside, address) in [(true, format!("{}:4143", web.ip())), (false, "127.0.0.1:4140".to_owned())] {
        let dial = || Client::connect(&address).and_then(|mut client| client.get("/"));
        let answer = if from_outside { outside.run(dial) } else { Ok(web.run_in(dial)) };
        assert!(answer.unwrap().is_err(), "{address} answered");
    }
    wait::until_true("the refusals are logged", || web.log().contains("E014"));
    assert!(web.admin("/ready").is_some_and(|ready| ready.status == 200));
}

#[test]
fn the_capture_by_user_id_works_too() {
    let Some(sandbox) = enter() else { return };
    if !sandbox.has_uids() {
        return; // one user only: the mark is tested everywhere else
    }
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod_by_user("client-1", "client", 4140);

    let response = client.get(&format!("http://{WEB}/"));

    assert_eq!((response.status, response.header("x-app")), (200, "web-1"), "{}", response.text());
    assert_eq!(client.config()["backends"][0]["endpoints"][0]["identity"], "spiffe://mesh.local/ns/shop/sa/web");
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |_| Reply::ok("answer").after(Duration::from_millis(100)));
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    connection.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    connection.raw().get_mut().flush().unwrap();
    connection.raw().get_ref().shutdown(std::net::Shutdown::Write).unwrap();

    assert_eq!(connection.read(false).unwrap().text(), "answer");
}
