//! nghttp2's programs: thousands of requests with h2load, trailers and large files with nghttp and nghttpd.

use std::process::Command;

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Mesh, Pod, Process, enter, yaml};

use super::{parsed, serve, succeeds};

const WEB: &str = "10.96.0.10";

/// nghttpd, with a small and a large file.
fn nghttpd(mesh: &Mesh, pod: &Pod, arguments: &[&str]) -> Process {
    let files = mesh.folder().join("files");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("small"), "small").unwrap();
    std::fs::write(files.join("large"), vec![b'x'; 3_000_000]).unwrap();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--verbose", "--htdocs"]).arg(&files).args(arguments).arg("8080");
    serve(mesh, pod, 8080, Ok(command))
}

/// Loads with `requests`, none of which may fail.
fn load(from: &Namespace, requests: u32, arguments: &[&str]) {
    let mut command = Command::new("h2load");
    command.args(["--requests", &requests.to_string(), "--clients", "8"]).args(arguments);
    let told = succeeds(from, Ok(command));
    let all = format!("requests: {requests} total, {requests} started, {requests} done, {requests} succeeded");
    assert!(told.contains(&format!("{all}, 0 failed, 0 errored, 0 timeout")), "{arguments:?} {told}");
    assert!(told.contains(&format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{arguments:?} {told}");
}

#[test]
fn thousands_of_requests_of_both_versions_reach_an_app() {
    thousands_over("http1");
}

#[test]
fn thousands_of_requests_reach_an_app_over_the_other_wire_form() {
    thousands_over("http2");
}

fn thousands_over(wire: &str) {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod_with("client-1", "client", "", &["--wire", wire]);
    let outside = mesh.bare("outside");
    let body = web.folder().join("body");
    std::fs::write(&body, "0123456789".repeat(100)).unwrap();
    let (body, url) = (body.display().to_string(), format!("http://{WEB}/hello"));

    load(&client, 800, &["--h1", &url]);
    load(&client, 800, &["--max-concurrent-streams", "10", &url]);
    load(&client, 200, &["--h1", "--data", &body, &url]);
    load(&client, 200, &["--max-concurrent-streams", "10", "--data", &body, &url]);
    let pod = format!("http://{}:8080/", web.ip());
    load(&outside, 200, &["--h1", &pod]);
    load(&outside, 200, &["--max-concurrent-streams", "10", &pod]);

    assert_eq!(app.count(), 2400, "each request reached the app once");
    assert_eq!(client.metric("http_client_request_duration_seconds_count", &["tls=\"mutual\""]), 2000.0);
    assert_eq!(parsed(&web), 2400.0);
}

#[test]
fn nghttpd_serves_small_and_large_files_under_load() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let _server = nghttpd(&mesh, &web, &[]);
    let client = mesh.pod("client-1", "client");

    load(&client, 2000, &["--max-concurrent-streams", "20", &format!("http://{WEB}/small")]);
    load(&client, 40, &["--max-concurrent-streams", "4", &format!("http://{WEB}/large")]);
    // Windows of the smallest size: much is blocked, nothing is stuck.
    let windows = ["--window-bits", "16", "--connection-window-bits", "16", "--max-concurrent-streams", "4"];
    load(&client, 40, &[&windows[..], &[&format!("http://{WEB}/large")]].concat());
}

#[test]
fn requests_in_parallel_share_one_connection_of_http2() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");

    let pod = format!("{}:8080", web.ip());
    for (from, address) in [(&*client, WEB), (&*client, &pod), (&outside, &pod)] {
        app.forget();
        let mut command = Command::new("nghttp");
        command.args(["--stat", "--null-out"]).args((0..60).map(|n| format!("http://{address}/{n}")));
        let told = succeeds(from, Ok(command));

        assert_eq!(told.matches(" 200 ").count(), 60, "{told}");
        let mut paths: Vec<_> = app.seen().into_iter().map(|seen| format!("{} {}", seen.version, seen.path)).collect();
        paths.sort_by_key(|path| path.len());
        assert_eq!((paths.len(), &*paths[0]), (60, "HTTP/2.0 /0"));
    }
}

#[test]
fn trailers_of_requests_and_answers_pass() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod("web-1", "web");
    let server = nghttpd(&mesh, &web, &["--trailer", "x-answer-sum: 42"]);
    let client = mesh.pod("client-1", "client");
    let body = web.folder().join("body");
    std::fs::write(&body, "0123456789").unwrap();

    let mut command = Command::new("nghttp");
    command.args(["--verbose", "--null-out", "--trailer", "x-request-sum: 43", "--data"]).arg(&body);
    command.arg(format!("http://{WEB}/small"));
    let told = succeeds(&client, Ok(command));

    assert!(told.contains("x-answer-sum: 42") && told.contains(":status: 200"), "{told}");
    let heard = server.output();
    assert!(heard.contains("x-request-sum: 43"), "{heard}");
}
