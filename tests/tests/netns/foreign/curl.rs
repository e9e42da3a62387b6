//! curl, in all the ways in which it sends and receives.

use std::io::Write as _;
use std::process::{Command, Stdio};

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, Reply, enter, yaml};

use super::succeeds;

const WEB: &str = "10.96.0.10";

/// A meshed server, and clients for each wire form and without a sidecar.
struct Shop {
    app: App,
    web: Pod,
    clients: [Pod; 2],
    outside: Namespace,
    _mesh: Mesh,
}

impl Shop {
    fn open(app: impl FnOnce(&Pod) -> App) -> Option<Self> {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
        let web = mesh.pod("web-1", "web");
        let app = app(&web);
        let clients = [("client-1", "http1"), ("client-2", "http2")];
        let clients = clients.map(|(name, wire)| mesh.pod_with(name, "client", "", &["--wire", wire]));
        let outside = mesh.bare("outside");
        Some(Self { app, web, clients, outside, _mesh: mesh })
    }

    /// Who asks, and where.
    fn ways(&self) -> [(&Namespace, String); 4] {
        let pod = format!("http://{}:8080", self.web.ip());
        let [over_http1, over_http2] = &self.clients;
        let service = || format!("http://{WEB}");
        [(over_http1, service()), (over_http1, pod.clone()), (over_http2, service()), (&self.outside, pod)]
    }
}

fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"]).args(arguments);
    command
}

#[test]
fn several_requests_share_one_connection() {
    let Some(shop) = Shop::open(|web| App::echo(web, 8080, "web-1")) else { return };

    for (from, url) in shop.ways() {
        shop.app.forget();
        let mut command = curl(&["--write-out", "%{num_connects} %{http_version} %{http_code}\\n"]);
        for path in ["/a?x=1", "/b", "/c"] {
            command.args(["--output", "/dev/null", &format!("{url}{path}")]);
        }
        let told = succeeds(from, Ok(command));

        assert_eq!(told, "1 1.1 200\n0 1.1 200\n0 1.1 200\n", "{} to {url}", from.name());
        let paths: Vec<_> = shop.app.seen().into_iter().map(|seen| (seen.version, seen.path)).collect();
        assert_eq!(paths, ["/a?x=1", "/b", "/c"].map(|path| ("HTTP/1.1".to_owned(), path.to_owned())));
    }
}

#[test]
fn http2_with_prior_knowledge_gets_its_answer_from_everywhere() {
    let Some(shop) = Shop::open(|web| App::http(web, 8080, |seen| Reply::ok(seen.body.clone()))) else { return };

    // One request a run: curl 7.88 breaks its own second one on such a connection (nghttp does many).
    for (from, url) in shop.ways() {
        let body = "0123456789".repeat(30_000);
        let file = shop.web.folder().join("body");
        std::fs::write(&file, &body).unwrap();
        let data = format!("@{}", file.display());
        let arguments = ["--http2-prior-knowledge", "--write-out", "%{http_version}", "--data-binary", &data, &url];
        assert!(succeeds(from, Ok(curl(&arguments))) == body.clone() + "2", "{}", from.name());
        assert_eq!(shop.app.seen().last().unwrap().version, "HTTP/2.0");
    }
}

#[test]
fn an_upload_waits_for_100_continue() {
    let Some(shop) = Shop::open(|web| App::http(web, 8080, |seen| Reply::ok(seen.body.clone()))) else { return };
    let body: Vec<u8> = (0..2_000_000_u32).map(|i| (i % 251) as u8).collect();
    let file = shop.web.folder().join("body");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());

    for (from, url) in shop.ways() {
        let mut command = curl(&["--verbose", "--header", "expect: 100-continue", "--expect100-timeout", "20"]);
        command.args(["--data-binary", &data, &url]);
        let output = super::output(from, &command);

        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && output.stdout == body, "{} bytes; {log}", output.stdout.len());
        let position = |text: &str| log.find(text).unwrap_or_else(|| panic!("no `{text}`: {log}"));
        assert!(position("HTTP/1.1 100 Continue") < position("HTTP/1.1 200 OK"), "{log}");
    }
}

#[test]
fn an_upload_of_unknown_length_is_chunked() {
    let Some(shop) = Shop::open(|web| App::http(web, 8080, |seen| Reply::ok(seen.body.clone()))) else { return };
    let body: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();

    for (from, url) in shop.ways() {
        shop.app.forget();
        let mut command = curl(&["--upload-file", "-", &url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = from.start(&mut command).unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let written = body.clone();
        let writing = std::thread::spawn(move || stdin.write_all(&written));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();

        assert!(output.status.success() && output.stdout == body, "{}: {} bytes", from.name(), output.stdout.len());
        let seen = shop.app.seen().remove(0);
        assert_eq!((&*seen.method, seen.headers.get("content-length")), ("PUT", None));
        assert_eq!(seen.headers["transfer-encoding"], "chunked");
    }
}

#[test]
fn head_is_answered_without_a_body_and_keeps_the_connection() {
    let Some(shop) = Shop::open(|web| App::http(web, 8080, |_| Reply::ok("0123456789"))) else { return };

    for (from, url) in shop.ways() {
        let mut command =
            curl(&["--head", &url, "--next", "--silent", "--include", "--write-out", "\\n%{num_connects}"]);
        command.args(["--noproxy", "*", &url]);
        let told = succeeds(from, Ok(command));

        let (head, get) = told.split_once("\r\n\r\n").unwrap();
        for answer in [head, get] {
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-length: 10"), "{told}");
        }
        assert!(get.ends_with("\r\n\r\n0123456789\n0"), "{told}");
    }
}

#[test]
fn an_offer_of_http2_over_plaintext_does_no_harm() {
    let Some(shop) = Shop::open(|web| App::echo(web, 8080, "web-1")) else { return };

    for (from, url) in shop.ways() {
        let told = succeeds(from, Ok(curl(&["--http2", "--write-out", "\\n%{http_code}", &url])));
        assert!(told.ends_with("\n200") && told.contains("\"app\":\"web-1\""), "{told}");
    }
}
