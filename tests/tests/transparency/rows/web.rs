//! HTTP as programs speak it.

use outrigger_tests::peers::transparency::{
    apache, curl, haproxy, java_client, nginx, node_client, node_server, python_client, python_server,
};

use crate::ways::{Client, Row, Scene, Server, compare};

macro_rules! rows {
    ($client:ident: $($scenario:literal),+ $(,)?) => {
        [$(Row { name: concat!(stringify!($client), " ", $scenario), client: Client::Program(|server| $client(server, $scenario)), shows: &[] }),+]
    };
}

/// curl with arguments; `{}` in them is the server.
macro_rules! curls {
    ($($name:literal: $($argument:literal)+;)+) => {
        [$(Row {
            name: concat!("curl, ", $name),
            client: Client::Program(|server| {
                let arguments = [$($argument.replace("{}", &server.to_string())),+];
                curl(&arguments.each_ref().map(String::as_str))
            }),
            shows: &[],
        }),+]
    };
}

#[test]
fn node_and_java() {
    let of_node = rows!(node_client: "fetch", "fetchPost", "fetchRedirect", "keepAlive", "parallel", "hints", "trailers", "teTrailers", "large",
        "nothing", "unavailable", "break", "expect", "upload", "early", "events", "abort", "idle");
    let java = [Row { name: "java", client: Client::Program(java_client), shows: &[] }];
    let of_node2 = rows!(node_client: "h2", "h2many", "h2post", "h2trailers", "h2large", "h2break");
    compare(vec![
        Scene {
            name: "node",
            server: Server::Program(|listen, _| node_server(listen, false)),
            http: true,
            rows: of_node.into_iter().chain(java).collect(),
        },
        Scene {
            name: "node of HTTP/2",
            server: Server::Program(|listen, _| node_server(listen, true)),
            http: true,
            rows: of_node2
                .into_iter()
                .chain(curls! {
                    "prior knowledge": "--http2-prior-knowledge" "--write-out" "%{http_version} %{http_code}" "http://{}/echo";
                    "prior knowledge, upload": "--http2-prior-knowledge" "--data-binary" "@/proc/self/exe" "--output" "/dev/null" "--write-out" "%{http_code} %{size_upload}" "http://{}/echo";
                })
                .collect(),
        },
    ]);
}

#[test]
fn python_and_servers() {
    let of_python = || rows!(python_client: "get", "head", "post", "patch", "delete", "large", "no-length", "keep-alive", "urllib", "urllib-error");
    let pages = || {
        curls! {
            "a page": "--include" "http://{}/index.html";
            "its head": "--head" "http://{}/index.html";
            "a part": "--range" "5-20" "--write-out" "%{http_code}" "http://{}/index.html";
            "compressed": "--compressed" "--write-out" "%{http_code}" "http://{}/index.html";
            "a page that is not there": "--include" "http://{}/none";
            "a redirect": "--location" "--write-out" "%{num_redirects} %{http_code}" "http://{}/old";
            "a method that it refuses": "--request" "TRACE" "--write-out" "%{http_code}" "--output" "/dev/null" "http://{}/index.html";
            "HTTP/1.0": "--http1.0" "--write-out" "%{http_code}" "http://{}/index.html";
        }
    };
    let page = |name, server| Scene { name, server: Server::Program(server), http: true, rows: pages().into() };
    compare(vec![
        Scene {
            name: "http.server of HTTP/1.0",
            server: Server::Program(|listen, _| python_server(listen, "1.0")),
            http: true,
            rows: of_python().into(),
        },
        Scene {
            name: "http.server of HTTP/1.1",
            server: Server::Program(|listen, _| python_server(listen, "1.1")),
            http: true,
            rows: of_python().into_iter().chain(rows!(node_client: "fetch", "fetchPost")).collect(),
        },
        page("nginx", nginx),
        page("apache", apache),
        page("haproxy", haproxy),
    ]);
}
