//! A real Prometheus scrapes meshed pods whose inbound mode is strict, from outside of the mesh and from inside; its tools read the pages.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::prometheus;
use outrigger_tests::{App, Client, Mesh, Process, Reply, wait, yaml};
use serde_json::Value;

use super::{enter_with, serve, succeeds};

const WEB: &str = "10.96.0.10";
const STRICT: &str = "  annotations:\n    config.outrigger.io/inbound: strict\n";
const PORT: u16 = 9091;

/// Starts a Prometheus that scrapes each of these every second.
fn start(mesh: &Mesh, at: &Namespace, targets: &[String]) -> Process {
    let folder = mesh.folder().join(format!("prometheus-{}", at.name()));
    fs::create_dir(&folder).unwrap();
    let config = folder.join("prometheus.yml");
    let quoted: Vec<String> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    let (global, job) = ("global: {scrape_interval: 1s, scrape_timeout: 1s}", "scrape_configs:\n  - job_name: mesh");
    fs::write(&config, format!("{global}\n{job}\n    static_configs: [{{targets: [{}]}}]\n", quoted.join(", ")))
        .unwrap();
    serve(mesh, at, PORT, prometheus::server(&config, &folder.join("data"), address(at)))
}

fn address(at: &Namespace) -> SocketAddr {
    (at.v4(), PORT).into()
}

fn ask(at: &Namespace, path: &str) -> Value {
    serde_json::from_str(&succeeds(at, prometheus::query(address(at), path))).unwrap()
}

/// The value of each target, by `up`, in the order of the targets.
fn up(at: &Namespace, targets: &[String]) -> Option<Vec<String>> {
    let answer = ask(at, "/api/v1/query?query=up");
    let samples = answer["data"]["result"].as_array()?.clone();
    let of = |target: &String| samples.iter().find(|sample| sample["metric"]["instance"] == **target);
    targets.iter().map(|target| of(target).map(|sample| sample["value"][1].as_str().unwrap().to_owned())).collect()
}

/// Writes a page of `pod`'s network to a file, in the format that `accept` asks for.
fn page(mesh: &Mesh, at: &Namespace, admin: &str, accept: &str) -> (PathBuf, String) {
    let headers = [("accept", accept), ("connection", "close")];
    let answer = at.run(|| Client::connect(admin)?.send("GET", "/metrics", &headers, &[])).unwrap().unwrap();
    assert_eq!(answer.status, 200);
    let (kind, _) = answer.header("content-type").split_once(';').unwrap();
    assert_eq!(kind, accept);
    let file = mesh.folder().join(format!("page-{}-{}", at.name(), accept.len()));
    fs::write(&file, &answer.body).unwrap();
    (file, answer.text())
}

#[test]
fn prometheus_scrapes_strict_pods_from_outside_of_the_mesh_and_from_inside() {
    let here = Path::new("/");
    let programs = [
        prometheus::server(here, here, ([127, 0, 0, 1], 1).into()),
        prometheus::check_metrics(here),
        prometheus::parse_openmetrics(here),
    ];
    let Some(sandbox) = enter_with(programs) else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod_with("web-1", "web", STRICT, &["--metrics-port", "4194", "--scrape", "9090/metrics"]);
    let own = ["--metrics-port", "4194", "--metrics-from", "mesh"];
    let api = mesh.pod_with("api-1", "api", STRICT, &own);
    let _web_app = App::echo(&web, 8080, "web-1");
    let metrics = "# HELP app_up Up.\n# TYPE app_up gauge\napp_up 1\n";
    let web_page = App::http(&web, 9090, move |_| Reply::ok(metrics));
    let (inside, outside) = (mesh.pod("inside-1", "inside"), mesh.bare("outside"));
    let targets = [(&web, 4194), (&web, 9090), (&api, 4194)].map(|(pod, port)| format!("{}:{port}", pod.ip()));
    let _processes = [start(&mesh, &inside, &targets), start(&mesh, &outside, &targets)];
    for _ in 0..3 {
        assert_eq!(inside.get(&format!("http://{WEB}/")).status, 200);
    }

    for (at, expected) in [(&*inside, ["1", "1", "1"]), (&outside, ["1", "1", "0"])] {
        wait::until_true(&format!("{}: {targets:?} are {expected:?}", at.name()), || {
            up(at, &targets).is_some_and(|up| up == expected)
        });
    }
    wait::until_true("the requests are in Prometheus", || {
        let query = "/api/v1/query?query=sum(http_server_request_duration_seconds_count{peer_service_account=\"inside\",http_response_status_code=\"200\"})";
        ask(&outside, query)["data"]["result"][0]["value"][1].as_str().is_some_and(|n| n.parse::<f64>().unwrap() >= 3.0)
    });
    // Only OpenMetrics has units.
    let family = &ask(&outside, "/api/v1/targets/metadata?metric=http_server_request_duration_seconds")["data"][0];
    assert_eq!((&family["unit"], &family["type"]), (&"seconds".into(), &"histogram".into()));
    let info = &ask(&outside, "/api/v1/query?query=target_info{k8s_pod_name=\"web-1\"}")["data"]["result"][0]["metric"];
    assert_eq!((&info["service_name"], &info["service_namespace"]), (&"web".into(), &"shop".into()));

    let served = api.metric("http_server_request_duration_seconds_count", &[]);
    assert_eq!(served, 0.0, "a scrape of the sidecar is no request to the application");
    assert!(web_page.seen().iter().all(|seen| seen.path == "/metrics" && seen.method == "GET"));

    let control_plane = mesh.home();
    for (at, admin) in [(&*web, "127.0.0.1:4191"), (&*inside, "127.0.0.1:4191"), (control_plane, "127.0.0.1:4182")] {
        let (file, text) = page(&mesh, at, admin, "text/plain");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
        assert_eq!(succeeds(at, prometheus::check_metrics(&file)), "", "{text}");
        let (file, text) = page(&mesh, at, admin, "application/openmetrics-text");
        let families: usize = succeeds(at, prometheus::parse_openmetrics(&file)).trim().parse().unwrap();
        assert_eq!(families, text.lines().filter(|line| line.starts_with("# TYPE ")).count(), "{text}");
    }
}
