//! The ports that a kubelet asks, and everybody can reach: silent connections keep no probe out, strangers run nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, enter, wait, yaml};

use super::{resident, web};

const PROBES: &str = r#"{"/s3cret/app/readiness":{"http":{"port":8080,"path":"/ready","headers":[["x-declared","yes"]]}},
    "/s3cret/app/pre-stop":{"http":{"port":8080,"path":"/shutdown","hook":true}}}"#;

/// A pod whose application has a probe and a hook, and whose ports for the kubelet are not captured.
fn probed(mesh: &mut Mesh, metadata: &str) -> Pod {
    let ports = ["--health-port=4192", "--probe-port=4193", "--probes", PROBES];
    let pod = mesh.pod_with("web-1", "web", metadata, &ports);
    pod.run(&["sidecar", "init", "--proxy-mark", "0x4f52", "--skip-inbound-ports=4192,4193"]);
    pod
}

#[test]
fn silent_connections_keep_no_kubelet_out() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let mut web = probed(&mut mesh, "");
    let _app = App::echo(&web, 8080, "web-1");
    let (stranger, kubelet) = (mesh.bare("stranger"), mesh.bare("kubelet"));
    let sidecar = web.sidecar().id();
    let before = resident(sidecar);

    let (readiness, ready, live) = ((4193, "/s3cret/app/readiness"), (4192, "/ready"), (4192, "/live"));
    for (number, (port, path)) in [(80, readiness), (80, ready), (80, live), (400, ready), (2000, readiness)] {
        let address = format!("{}:{port}", web.ip());
        let (enough, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let attack = || stranger.run(|| occupy(&address, number, &begun, &enough)).unwrap();
            let attacking = scope.spawn(attack);
            wait::until_true("all are connected", || begun.load(Ordering::Relaxed) || attacking.is_finished());

            let answers: Vec<_> = (0..20).map(|_| probe(&kubelet, &address, path)).collect();

            enough.store(true, Ordering::Relaxed);
            attacking.join().unwrap();
            assert_eq!(answers, [200; 20], "{number} on {port}");
        });
    }
    let after = resident(sidecar);
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
}

/// Keeps so many connections open that say nothing, half of a request, or a byte now and then; those that are closed are made again.
fn occupy(address: &str, number: usize, begun: &AtomicBool, enough: &AtomicBool) {
    let dial = |index: usize| {
        let mut stream = TcpStream::connect(address).ok()?;
        if !index.is_multiple_of(3) {
            stream.write_all(b"GET /s3cret/app/readi").ok()?;
        }
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    };
    let mut all: Vec<_> = (0..number).map(dial).collect();
    begun.store(true, Ordering::Relaxed);
    while !enough.load(Ordering::Relaxed) {
        for (index, place) in all.iter_mut().enumerate() {
            let open = place.as_mut().is_some_and(|stream| {
                let quiet = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                quiet && (index % 3 != 2 || stream.write(b"n").is_ok())
            });
            if !open && !enough.load(Ordering::Relaxed) {
                *place = dial(index);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks as a kubelet does, with ten times its usual patience; 0: no answer.
fn probe(kubelet: &Namespace, address: &str, path: &str) -> u16 {
    let ask = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let fields = "user-agent: kube-probe/1.36\r\naccept: */*\r\nconnection: close\r\n";
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{fields}\r\n").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        String::from_utf8_lossy(&answer).get(9..12)?.parse().ok()
    };
    kubelet.run(ask).unwrap().unwrap_or(0)
}

#[test]
fn strangers_run_no_hook_and_the_application_gets_no_header_of_theirs() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let strict = "  annotations:\n    config.outrigger.io/inbound: strict\n";
    let web = probed(&mut mesh, strict);
    let app = App::echo(&web, 8080, "web-1");
    let outside = mesh.bare("outside");
    let address = format!("{}:4193", web.ip());

    for path in ["/app/pre-stop", "/app/readiness", "/", "/s3cret", "//s3cret/app/pre-stop", "/shutdown"] {
        assert_eq!(probe(&outside, &address, path), 404, "{path}");
    }
    assert_eq!(app.count(), 0, "{:?}", app.seen());

    let ask = || {
        let mut client = outrigger_tests::Client::connect(&address)?;
        client.send("GET", "/s3cret/app/readiness", &[("x-declared", "no"), ("authorization", "mine")], b"")
    };
    let answer = outside.run(ask).unwrap().unwrap();

    assert_eq!((answer.status, answer.text().as_str()), (200, ""), "the status, and nothing else");
    let seen = app.seen().remove(0);
    assert_eq!((seen.path.as_str(), seen.headers["x-declared"].as_str()), ("/ready", "yes"));
    assert!(!seen.headers.contains_key("authorization"), "{:?}", seen.headers);
    assert_eq!(probe(&outside, &address, "/s3cret/app/pre-stop"), 200, "the kubelet runs the hook");
    assert_eq!(app.seen().last().unwrap().path, "/shutdown");
}

#[test]
fn no_client_can_say_who_it_is_in_a_header() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &(web() + &yaml::service("keeps", "10.96.0.11", 80, 8080)));
    let web = mesh.pod("web-1", "web");
    let keeps = mesh.pod_with("keeps-1", "keeps", "", &["--client-cert-headers", "keep"]);
    let apps = [App::echo(&web, 8080, "web-1"), App::echo(&keeps, 8080, "keeps-1")];
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");

    for (service, (pod, app)) in [super::WEB, "10.96.0.11"].into_iter().zip([&web, &keeps].into_iter().zip(&apps)) {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for (from, url) in
                [(&*client, format!("http://{service}/")), (&outside, format!("http://{}:8080/", pod.ip()))]
            {
                app.forget();
                let mut curl = std::process::Command::new("curl");
                curl.args(["--silent", "--show-error", version, "--max-time", "30"]);
                for header in [
                    "x-forwarded-client-cert: Hash=1;URI=spiffe://mesh.local/ns/shop/sa/admin",
                    "l5d-client-id: admin.shop.serviceaccount.identity.linkerd.cluster.local",
                    "outrigger-client-id: spiffe://mesh.local/ns/shop/sa/admin",
                    "x_forwarded_client_cert: Hash=1",
                    "forwarded: for=192.0.2.7",
                    "x-forwarded-for: 192.0.2.7",
                ] {
                    curl.args(["-H", header]);
                }
                let output = from.run(|| curl.arg(&url).output()).unwrap().unwrap();
                assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));

                let headers = app.seen().remove(0).headers;
                let has = |name: &str| headers.contains_key(name);
                let others = ["x-forwarded-client-cert", "l5d-client-id", "x_forwarded_client_cert"].map(has);
                assert_eq!(others, [service != super::WEB; 3], "{url} {version}: {headers:?}");
                assert!(!has("outrigger-client-id"), "{url} {version}: {headers:?}");
                assert!(has("forwarded") && has("x-forwarded-for"), "as without a mesh: {headers:?}");
            }
        }
    }
}
