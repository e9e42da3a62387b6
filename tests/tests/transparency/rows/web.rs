//! HTTP as programs speak it.

use outrigger_tests::peers::transparency::{
    apache, curl, haproxy, java_client, nginx, node_client, node_server, python_client, python_server,
};

use crate::differences::{CLOSING, ENDINGS, REASON, VERSION};
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
    let of_node = rows!(node_client: "fetch", "fetchPost", "fetchRedirect", "keepAlive", "parallel", "teTrailers", "large",
        "nothing", "unavailable", "break", "upload", "early", "events", "abort", "idle");
    let java = [Row { name: "java", client: Client::Program(java_client), shows: &[] }];
    let interim = rows!(node_client: "hints", "trailers", "expect");
    let of_node2 = rows!(node_client: "h2", "h2many", "h2post", "h2trailers", "h2large");
    let broken = rows!(node_client: "h2break").map(|row| row.shows(&[&ENDINGS]));
    compare(vec![
        Scene {
            name: "node",
            server: Server::Program(|listen, _| node_server(listen, false)),
            http: true,
            rows: of_node.into_iter().chain(interim).chain(java).collect(),
        },
        Scene {
            name: "node of HTTP/2",
            server: Server::Program(|listen, _| node_server(listen, true)),
            http: true,
            rows: of_node2
                .into_iter()
                .chain(broken)
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
    let of_python = || rows!(python_client: "get", "head", "post", "patch", "delete", "large", "keep-alive", "urllib");
    let error = |shows| Row {
        name: "python_client urllib-error",
        client: Client::Program(|server| python_client(server, "urllib-error")),
        shows,
    };
    let no_length = |shows| Row {
        name: "python_client no-length",
        client: Client::Program(|server| python_client(server, "no-length")),
        shows,
    };
    let pages = || {
        curls! {
            "a page": "--write-out" "%{http_code} %{content_type} %header{last-modified} %header{server} %header{accept-ranges}" "http://{}/index.html";
            "its head": "--head" "--output" "/dev/null" "--write-out" "%{http_code} %header{content-length}" "http://{}/index.html";
            "a part": "--range" "5-20" "--write-out" "%{http_code}" "http://{}/index.html";
            "compressed": "--compressed" "--write-out" "%{http_code}" "http://{}/index.html";
            "a page that is not there": "--write-out" "%{http_code} %{content_type}" "http://{}/none";
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
            rows: of_python()
                .map(|row| row.shows(&[&VERSION]))
                .into_iter()
                .chain([error(&[&REASON]), no_length(&[&VERSION, &CLOSING])])
                .collect(),
        },
        Scene {
            name: "http.server of HTTP/1.1",
            server: Server::Program(|listen, _| python_server(listen, "1.1")),
            http: true,
            rows: of_python()
                .into_iter()
                .chain([error(&[&REASON]), no_length(&[&CLOSING])])
                .chain(rows!(node_client: "fetch", "fetchPost"))
                .collect(),
        },
        page("nginx", nginx),
        page("apache", apache),
        page("haproxy", haproxy),
    ]);
}
