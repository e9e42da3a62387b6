//! Routes, weights, retries and timeouts, as a client and the apps see them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outrigger_tests::{App, Client, Mesh, Pod, Reply, enter, wait, yaml};

const WEB: &str = "10.96.0.10";

/// Services `web`, `v1` and `v2`, and a route on `web` with these rules.
fn services(rules: &str) -> String {
    let mut all = yaml::service("web", WEB, 80, 8080);
    all.push_str(&yaml::service("v1", "10.96.0.11", 80, 8080));
    all.push_str(&yaml::service("v2", "10.96.0.12", 80, 8080));
    if !rules.is_empty() {
        all.push_str(&yaml::http_route("web", "web", rules));
    }
    all
}

struct Shop {
    mesh: Mesh,
    client: Pod,
    _v1: (Pod, App),
    v2: (Pod, App),
}

impl Shop {
    fn open(rules: &str) -> Option<Self> {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &services(rules));
        let mut version = |name: &str| {
            let pod = mesh.pod(&format!("{name}-1"), name);
            let app = App::echo(&pod, 8080, name);
            (pod, app)
        };
        let (v1, v2) = (version("v1"), version("v2"));
        let client = mesh.pod("client-1", "client");
        Some(Self { mesh, client, _v1: v1, v2 })
    }

    /// A page of the control plane.
    fn control_plane(&self, path: &str) -> serde_json::Value {
        self.mesh.control_plane_get(path).expect("the control plane answers").json()
    }
}

#[test]
fn rules_match_by_path_header_query_and_method() {
    let Some(shop) = Shop::open(
        r#"    - matches: [{path: {type: Exact, value: /exact}}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /prefix}}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{headers: [{name: x-version, value: two}]}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{queryParams: [{name: v, value: "2"}]}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{method: DELETE}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /}}]
      backendRefs: [{name: v1, port: 80}]
"#,
    ) else {
        return;
    };
    let mut client = shop.client.connect(&format!("{WEB}:80"));

    for (method, path, headers, expected) in [
        ("GET", "/", &[][..], "v1"),
        ("GET", "/exact", &[], "v2"),
        ("GET", "/exact/more", &[], "v1"),
        ("GET", "/prefix", &[], "v2"),
        ("GET", "/prefix/more", &[], "v2"),
        ("GET", "/prefixed", &[], "v1"),
        ("GET", "/a/../prefix", &[], "v2"),
        ("GET", "/", &[("x-version", "two")], "v2"),
        ("GET", "/?v=2", &[], "v2"),
        ("GET", "/?v=22", &[], "v1"),
        ("DELETE", "/", &[], "v2"),
    ] {
        let response = client.send(method, path, headers, &[]).unwrap();
        assert_eq!(response.header("x-app"), expected, "{method} {path} {headers:?}: {}", response.text());
    }
}

#[test]
fn filters_change_requests_and_answers_as_the_route_says() {
    let Some(shop) = Shop::open(
        r#"    - matches: [{path: {type: PathPrefix, value: /old}}]
      filters:
        - type: URLRewrite
          urlRewrite: {hostname: shop.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
        - type: RequestHeaderModifier
          requestHeaderModifier: {set: [{name: x-set, value: a}], add: [{name: x-add, value: b}], remove: [x-gone]}
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-answer, value: c}]}
      backendRefs: [{name: v1, port: 80}]
    - matches: [{path: {type: PathPrefix, value: /moved}}]
      filters:
        - type: RequestRedirect
          requestRedirect: {hostname: example.org, statusCode: 301}
"#,
    ) else {
        return;
    };
    let mut client = shop.client.connect(&format!("{WEB}:80"));

    let answer = client.send("GET", "/old/x?q=1", &[("x-gone", "1"), ("x-add", "0")], &[]).unwrap();
    let told = answer.json();
    assert_eq!(told["path"], "/new/x?q=1");
    assert_eq!(told["headers"]["host"], "shop.example");
    assert_eq!(told["headers"]["x-set"], "a");
    assert_eq!(told["headers"]["x-add"], "0, b");
    assert!(told["headers"].get("x-gone").is_none());
    assert_eq!(answer.header("x-answer"), "c");

    let moved = client.send("GET", "/moved/here?q=1", &[("host", "shop")], &[]).unwrap();
    assert_eq!((moved.status, moved.header("location")), (301, "http://example.org/moved/here?q=1"));

    let lost = client.get("/elsewhere").unwrap();
    assert_eq!(lost.status, 404);
    assert!(lost.header("proxy-status").contains("destination_not_found"), "{:?}", lost.headers);
    assert!(lost.text().contains("E001"), "{}", lost.text());
}

#[test]
fn weights_hold_within_one_percent_over_ten_thousand_requests() {
    let Some(shop) =
        Shop::open("    - backendRefs: [{name: v1, port: 80, weight: 90}, {name: v2, port: 80, weight: 10}]\n")
    else {
        return;
    };

    let mut counts = BTreeMap::<String, u32>::new();
    let mut client = shop.client.connect(&format!("{WEB}:80"));
    for _ in 0..10_000 {
        let response = client.get("/").unwrap();
        assert_eq!(response.status, 200);
        *counts.entry(response.header("x-app").to_owned()).or_default() += 1;
    }

    let v2 = f64::from(counts["v2"]) / 10_000.0;
    // One percentage point is 3.3 standard deviations of a fair draw.
    assert!((v2 - 0.10).abs() <= 0.01, "{counts:?}");
}

#[test]
fn a_route_edit_applies_without_a_failed_request() {
    let Some(shop) = Shop::open("    - backendRefs: [{name: v1, port: 80}]\n") else { return };
    let mut client = shop.client.connect(&format!("{WEB}:80"));
    assert_eq!(client.get("/").unwrap().header("x-app"), "v1");

    shop.mesh.write("mesh.yaml", &services("    - backendRefs: [{name: v2, port: 80}]\n"));
    let mut requests = 0;
    let seen = wait::until("the new route is in force", || {
        let response = client.get("/").unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        requests += 1;
        (response.header("x-app") == "v2").then_some(requests)
    });
    for _ in 0..200 {
        assert_eq!(client.get("/").unwrap().header("x-app"), "v2", "the new route came and went after {seen} requests");
    }
}

#[test]
fn a_weight_change_under_load_is_one_cut_before_the_ack() {
    let rule = |v1: u32, v2: u32| {
        format!("    - backendRefs: [{{name: v1, port: 80, weight: {v1}}}, {{name: v2, port: 80, weight: {v2}}}]\n")
    };
    let Some(shop) = Shop::open(&rule(1, 0)) else { return };
    let clients: Vec<_> = (0..8).map(|_| shop.client.connect(&format!("{WEB}:80"))).collect();
    let done = AtomicBool::new(false);

    let mut changes = Vec::new();
    let mut asked: Vec<Asked> = std::thread::scope(|scope| {
        let load = |client| scope.spawn(|| ask_until(client, &done));
        let load: Vec<_> = clients.into_iter().map(load).collect();
        for new in ["v2", "v1", "v2", "v1"] {
            std::thread::sleep(Duration::from_millis(100));
            let snapshot = shop.control_plane("/config")["snapshot"].as_u64().unwrap();
            let written = Instant::now();
            let weights = if new == "v1" { rule(1, 0) } else { rule(0, 1) };
            shop.mesh.write("mesh.yaml", &services(&weights));
            let acked = wait::until("the client's sidecar acks", || {
                let page = shop.control_plane("/sidecars");
                let all = page["sidecars"].as_array().unwrap();
                let own = all.iter().find(|sidecar| sidecar["workload"] == "shop/client-1").unwrap();
                (own["ackedSnapshot"].as_u64().unwrap() > snapshot).then(Instant::now)
            });
            changes.push((new, written, acked));
        }
        std::thread::sleep(Duration::from_millis(100));
        done.store(true, Ordering::Relaxed);
        load.into_iter().flat_map(|load| load.join().unwrap()).collect()
    });
    asked.sort_by_key(|one| one.sent);

    let end = asked.last().unwrap().answered;
    let mut old = "v1";
    let mut from = asked[0].sent;
    for (index, (new, written, acked)) in changes.iter().enumerate() {
        let until = changes.get(index + 1).map_or(end, |(_, written, _)| *written);
        let here: Vec<&Asked> = asked.iter().filter(|one| one.sent >= from && one.answered <= until).collect();
        let cut = here.iter().filter(|one| one.app == *new).map(|one| one.answered).min().expect("it took effect");
        assert!(cut > *written);
        for one in here {
            let right = if one.answered <= *written {
                one.app == old
            } else if one.sent > *acked || one.sent > cut {
                one.app == *new
            } else {
                one.app == old || one.app == *new
            };
            assert!(
                right,
                "change {index} to {new}, written {written:?}, first answer {cut:?}, acked {acked:?}: {one:?}"
            );
        }
        (old, from) = (*new, *acked);
    }
}

/// A request of the load, with where it went.
#[derive(Debug)]
struct Asked {
    sent: Instant,
    answered: Instant,
    app: String,
}

/// Asks on one connection until told to stop. Every request must succeed.
fn ask_until(mut client: Client, done: &AtomicBool) -> Vec<Asked> {
    let mut all = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let response = client.get("/").expect("an answer");
        assert_eq!(response.status, 200, "{}", response.text());
        all.push(Asked { sent, answered: Instant::now(), app: response.header("x-app").to_owned() });
    }
    all
}

#[test]
fn a_bad_edit_is_named_and_the_last_good_routes_stay() {
    let Some(shop) = Shop::open("    - backendRefs: [{name: v1, port: 80}]\n") else { return };
    let mut client = shop.client.connect(&format!("{WEB}:80"));
    assert_eq!(client.get("/").unwrap().header("x-app"), "v1");

    shop.mesh.write("mesh.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: [web\n");

    wait::until_true("the control plane names the bad file", || {
        let page = shop.mesh.control_plane_get("/config").expect("the control plane answers").text();
        page.contains("mesh.yaml:")
    });
    assert_eq!(client.get("/").unwrap().header("x-app"), "v1");
}

#[test]
fn a_backend_that_does_not_exist_takes_its_share_with_500() {
    let Some(shop) = Shop::open("    - backendRefs: [{name: v1, port: 80}, {name: nowhere, port: 80}]\n") else {
        return;
    };
    let mut client = shop.client.connect(&format!("{WEB}:80"));

    let failed = (0..200).filter(|_| client.get("/").unwrap().status == 500).count();

    assert!((60..140).contains(&failed), "{failed} of 200");
}

#[test]
fn a_service_without_endpoints_is_unavailable() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services(""));
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{WEB}/"));

    assert_eq!(response.status, 503);
    assert!(response.text().contains("E002"), "{}", response.text());
}

#[test]
fn an_app_that_does_not_listen_is_named() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services(""));
    let web = mesh.pod("web-1", "web");
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{WEB}/"));

    assert_eq!(response.status, 502, "{}", response.text());
    let said = response.text();
    assert!(
        said.contains("E009") && said.contains("each with E003") && said.contains("is the app listening"),
        "{said}"
    );
    assert!(response.header("proxy-status").starts_with("outrigger-outbound"), "{:?}", response.headers);
    // Who has no sidecar that could try another endpoint gets the app's sidecar's own word.
    let outside = mesh.bare("outside");
    let response =
        outside.run(|| outrigger_tests::client::try_get(&format!("http://{}:8080/", web.ip()))).unwrap().unwrap();
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains("E003"), "{}", response.text());
    assert!(response.header("proxy-status").starts_with("outrigger-inbound"), "{:?}", response.headers);
    assert_eq!(web.metric("http_server_request_duration_seconds_count", &[]), 4.0, "three of the client's, one more");
}

/// An app that fails the first `failures` requests with `status` and counts all of them.
fn failing(pod: &Pod, failures: usize, status: u16) -> (App, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let app = App::http(pod, 8080, move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        n if n < failures => Reply::status(status),
        _ => Reply::ok("done"),
    });
    (app, count)
}

#[test]
fn a_route_with_retries_repeats_the_statuses_it_names_and_no_others() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - retry: {codes: [503], attempts: 2, backoff: 10ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let mut mesh = Mesh::start(sandbox, &services(rules));
    let web = mesh.pod("web-1", "web");
    let client = mesh.pod("client-1", "client");

    for (failures, status, expected, requests) in
        [(1, 503, 200, 2), (2, 503, 200, 3), (3, 503, 503, 3), (1, 500, 500, 1)]
    {
        let (_app, count) = failing(&web, failures, status);
        let mut connection = client.connect(&format!("{WEB}:80"));
        let response = connection.send("POST", "/", &[], b"a body that is sent again").unwrap();
        assert_eq!(response.status, expected, "{failures} failures with {status}");
        assert_eq!(count.load(Ordering::Relaxed), requests, "{failures} failures with {status}");
    }
}

#[test]
fn a_repeated_request_carries_its_whole_body() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - retry: {codes: [503], attempts: 3, backoff: 1ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let mut mesh = Mesh::start(sandbox, &services(rules));
    let web = mesh.pod("web-1", "web");
    let (app, _) = failing(&web, 2, 503);
    let client = mesh.pod("client-1", "client");
    let body = vec![b'x'; 50_000];

    let response = client.connect(&format!("{WEB}:80")).send("POST", "/", &[], &body).unwrap();

    assert_eq!(response.status, 200);
    let seen = app.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.body == body));
}

#[test]
fn without_a_retry_rule_nothing_that_was_processed_is_repeated() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services(""));
    let web = mesh.pod("web-1", "web");
    // Reads the request and breaks off: it may have been processed.
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let _app = App::tcp(&web, 8080, move |mut stream| {
        let counted = counted.clone();
        Box::pin(async move {
            let mut buffer = [0; 1000];
            if tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap_or(0) > 0 {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let client = mesh.pod("client-1", "client");

    let response = client.connect(&format!("{WEB}:80")).send("POST", "/", &[], b"pay").unwrap();

    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains("E005"), "{}", response.text());
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn retries_stay_within_the_budget_when_everything_fails() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - retry: {codes: [503], attempts: 5, backoff: 1ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let mut mesh = Mesh::start(sandbox, &services(rules));
    let web = mesh.pod("web-1", "web");
    let (_app, count) = failing(&web, usize::MAX, 503);
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    for _ in 0..1000 {
        assert_eq!(connection.get("/").unwrap().status, 503);
    }

    // A fifth of the requests, and the reserve of ten a second for ten seconds (twice, should the window move on).
    let retries = count.load(Ordering::Relaxed) - 1000;
    assert!((150..=450).contains(&retries), "{retries} retries for 1000 requests");
}

#[test]
fn a_connection_that_is_refused_costs_no_request_when_another_endpoint_lives() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services(""));
    let live = mesh.pod("web-1", "web");
    let _app = App::echo(&live, 8080, "web-1");
    // In the service, but no sidecar and no app: every connection is refused.
    let dead = mesh.bare("web-2");
    let yaml = yaml::workload("web-2", "web", &dead.v4().to_string(), "");
    mesh.write("web-2.yaml", &yaml.replace("spec:\n", "spec:\n  meshed: false\n"));
    let client = mesh.pod("client-1", "client");

    for _ in 0..100 {
        let response = client.connect(&format!("{WEB}:80")).send("POST", "/", &[], b"x").unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
    }
}

#[test]
fn a_connection_that_cannot_be_made_is_tried_as_often_as_the_route_says() {
    let rule = |path: &str, retry: &str| {
        format!("    - matches: [{{path: {{value: {path}}}}}]\n      backendRefs: [{{name: v1, port: 80}}]\n{retry}")
    };
    let rules = [
        rule("/none", ""),
        rule("/zero", "      retry: {attempts: 0}\n"),
        rule("/one", "      retry: {attempts: 1, backoff: 1ms}\n"),
        rule("/four", "      retry: {attempts: 4, backoff: 1ms}\n"),
    ];
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services(&rules.concat()));
    let _nothing_listens = mesh.pod("v1-1", "v1");
    let client = mesh.pod("client-1", "client");

    for (path, attempts) in [("/none", 3), ("/zero", 1), ("/one", 2), ("/four", 5)] {
        let answer = client.get(&format!("http://{WEB}{path}"));
        let told = answer.text();
        assert!(answer.status >= 500, "{path}: {told}");
        let counted = told.split(" attempts failed").next().and_then(|head| head.rsplit(' ').next()?.parse().ok());
        assert_eq!(counted.unwrap_or(1), attempts, "{path}: {told}");
    }
}

#[test]
fn a_request_timeout_ends_at_its_time_and_names_its_rule() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - name: slow\n      timeouts: {request: 300ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let mut mesh = Mesh::start(sandbox, &services(rules));
    let web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |_| Reply::ok("late").after(Duration::from_secs(20)));
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));

    // A busy machine may delay one; a timeout that is wrong is wrong every time.
    let best = (0..5).map(|_| {
        let start = Instant::now();
        let response = connection.get("/").unwrap();
        assert_eq!(response.status, 504);
        assert!(
            response.text().contains("E008") && response.text().contains("HTTPRoute/shop/web/slow"),
            "{}",
            response.text()
        );
        start.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best >= Duration::from_millis(300) && best <= Duration::from_millis(320), "{best:?}");
}

#[test]
fn an_attempt_timeout_bounds_one_attempt() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - timeouts: {request: 10s, backendRequest: 100ms}\n      retry: {codes: [504], attempts: 1, backoff: 1ms}\n      \
                 backendRefs: [{name: web, port: 80}]\n";
    let mut mesh = Mesh::start(sandbox, &services(rules));
    let web = mesh.pod("web-1", "web");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Slow once.
    let _app = App::http(&web, 8080, move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::ok("late").after(Duration::from_secs(20)),
        _ => Reply::ok("in time"),
    });
    let client = mesh.pod("client-1", "client");

    let response = client.get(&format!("http://{WEB}/"));

    assert_eq!((response.status, response.text().as_str()), (200, "in time"));
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[test]
fn a_request_to_a_pod_address_bypasses_the_routes() {
    let Some(shop) = Shop::open("    - backendRefs: [{name: v1, port: 80}]\n") else { return };

    let response = shop.client.get(&format!("http://{}:8080/", shop.v2.0.ip()));

    assert_eq!((response.status, response.header("x-app")), (200, "v2"));
}
