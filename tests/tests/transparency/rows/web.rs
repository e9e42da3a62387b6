//! HTTP as programs speak it.

use outrigger_tests::peers::transparency::{
    apache, curl, haproxy, java_client, nginx, node_client, node_server, python_client, python_server,
};

use crate::differences::{CLOSING, REASON, VERSION};
use crate::ways::{Row, Scene, Server, compare};

/// Scenarios of Node's clients.
fn of_node(scenarios: &[&'static str]) -> Vec<Row> {
    let row = |scenario| Row::program(format!("node, {scenario}"), move |server| node_client(server, scenario));
    scenarios.iter().copied().map(row).collect()
}

/// A scenario of Python's clients.
fn of_python(scenario: &'static str) -> Row {
    Row::program(format!("python, {scenario}"), move |server| python_client(server, scenario))
}

/// curl with arguments; `{}` in them is the server.
fn of_curl(name: &str, arguments: &'static [&'static str]) -> Row {
    Row::program(format!("curl, {name}"), move |server| {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace("{}", &server.to_string())).collect();
        curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

#[test]
fn node_and_java() {
    let mut http1 = of_node(&[
        "fetch",
        "fetchPost",
        "fetchRedirect",
        "keepAlive",
        "parallel",
        "teTrailers",
        "large",
        "nothing",
        "unavailable",
        "break",
        "upload",
        "early",
        "events",
        "abort",
        "idle",
        "hints",
        "trailers",
        "expect",
    ]);
    http1.push(Row::program("java", java_client));
    let mut http2 = of_node(&["h2", "h2many", "h2post", "h2trailers", "h2large", "h2break", "h2reset", "h2leave"]);
    http2.push(of_curl(
        "prior knowledge",
        &["--http2-prior-knowledge", "--write-out", "%{http_version} %{http_code}", "http://{}/echo"],
    ));
    http2.push(of_curl(
        "prior knowledge, upload",
        &[
            "--http2-prior-knowledge",
            "--data-binary",
            "@/proc/self/exe",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %{size_upload}",
            "http://{}/echo",
        ],
    ));
    compare(vec![
        Scene {
            name: "node",
            server: Server::Program(|listen, _| node_server(listen, false)),
            http: true,
            rows: http1,
        },
        Scene {
            name: "node of HTTP/2",
            server: Server::Program(|listen, _| node_server(listen, true)),
            http: true,
            rows: http2,
        },
    ]);
}

/// Requests to a server of pages.
fn pages() -> Vec<Row> {
    vec![
        of_curl(
            "a page",
            &[
                "--write-out",
                "%{http_code} %{content_type} %header{last-modified} %header{server} %header{accept-ranges}",
                "http://{}/index.html",
            ],
        ),
        of_curl(
            "its head",
            &[
                "--head",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code} %header{content-length}",
                "http://{}/index.html",
            ],
        ),
        of_curl("a part", &["--range", "5-20", "--write-out", "%{http_code}", "http://{}/index.html"]),
        of_curl("compressed", &["--compressed", "--write-out", "%{http_code}", "http://{}/index.html"]),
        of_curl("a page that is not there", &["--write-out", "%{http_code} %{content_type}", "http://{}/none"]),
        of_curl("a redirect", &["--location", "--write-out", "%{num_redirects} %{http_code}", "http://{}/old"]),
        of_curl(
            "a method that it refuses",
            &["--request", "TRACE", "--write-out", "%{http_code}", "--output", "/dev/null", "http://{}/index.html"],
        ),
        of_curl("HTTP/1.0", &["--http1.0", "--write-out", "%{http_code}", "http://{}/index.html"]),
    ]
}

#[test]
fn python_and_servers() {
    let python =
        || ["get", "head", "post", "patch", "delete", "large", "keep-alive", "urllib"].into_iter().map(of_python);
    let error = || of_python("urllib-error").shows(&[&REASON]);
    compare(vec![
        Scene {
            name: "http.server of HTTP/1.0",
            server: Server::Program(|listen, _| python_server(listen, "1.0")),
            http: true,
            rows: python()
                .map(|row| row.shows(&[&VERSION]))
                .chain([error(), of_python("no-length").shows(&[&VERSION, &CLOSING])])
                .collect(),
        },
        Scene {
            name: "http.server of HTTP/1.1",
            server: Server::Program(|listen, _| python_server(listen, "1.1")),
            http: true,
            rows: python()
                .chain([error(), of_python("no-length").shows(&[&CLOSING])])
                .chain(of_node(&["fetch", "fetchPost"]))
                .collect(),
        },
        Scene { name: "nginx", server: Server::Program(nginx), http: true, rows: pages() },
        Scene { name: "apache", server: Server::Program(apache), http: true, rows: pages() },
        Scene { name: "haproxy", server: Server::Program(haproxy), http: true, rows: pages() },
    ]);
}
