//! Services that call one another: deadlines and attempts go with a request from hop to hop.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use outrigger_sandbox::Sandbox;
use outrigger_tests::{App, Client, Mesh, Pod, Reply, Response, Seen, enter, wait, yaml};

/// A trace of the caller's own.
fn parent(n: usize) -> String {
    format!("00-4bf92f3577b34da6{n:016x}-00f067aa0ba902b7-01")
}

fn ip(number: usize) -> String {
    format!("10.96.0.{}", 10 + number)
}

/// What an app passes on of a request that it has got.
fn trace_of(seen: &Seen) -> Vec<(&str, &str)> {
    let header = |name| seen.headers.get(name).map(|value| (name, value.as_str()));
    ["traceparent", "tracestate"].into_iter().filter_map(header).collect()
}

/// Sends a request on a connection that stays, or on another one where that has ended.
fn ask(kept: &mut Option<Client>, address: &str, headers: &[(&str, &str)]) -> Response {
    let reused = kept.take().and_then(|mut client| Some((client.send("GET", "/", headers, b"").ok()?, client)));
    let (response, client) = reused.unwrap_or_else(|| {
        let mut client = Client::connect(address).expect("the sidecar accepts");
        (client.send("GET", "/", headers, b"").expect("the sidecar answers"), client)
    });
    *kept = (response.header("connection") != "close").then_some(client);
    response
}

/// A chain of services `s0` to `s3`: each asks the next, and the last fails. Each hop's route allows two repetitions of that.
struct Chain {
    apps: Vec<App>,
    client: Pod,
    _pods: Vec<Pod>,
    _mesh: Mesh,
}

const SERVICES: usize = 4;

impl Chain {
    fn start(sandbox: Sandbox, passes_trace: bool) -> Self {
        let one = |number: usize| {
            let name = format!("s{number}");
            let rules = format!(
                "    - retry: {{codes: [503], attempts: 2, backoff: 1ms}}\n      backendRefs: [{{name: {name}, port: 80}}]\n"
            );
            // A fifth, as without a policy; what is allowed in any case would depend on how long the test takes.
            let budget = format!(
                "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
                 targetRefs: [{{group: \"\", kind: Service, name: {name}}}]\n  \
                 retryBudget: {{percent: 20, interval: 1h, minRetriesPerSecond: 0}}\n"
            );
            yaml::service(&name, &ip(number), 80, 8080) + &yaml::http_route(&name, &name, &rules) + &budget
        };
        let mut mesh = Mesh::start(sandbox, &(0..SERVICES).map(one).collect::<String>());
        let pods: Vec<Pod> = (0..SERVICES).map(|n| mesh.pod(&format!("s{n}-1"), &format!("s{n}"))).collect();
        let apps = pods.iter().enumerate().map(|(number, pod)| {
            let (kept, next) = (Mutex::new(None), format!("{}:80", ip(number + 1)));
            App::http(pod, 8080, move |seen| {
                if number + 1 == SERVICES {
                    return Reply::status(503);
                }
                let headers = if passes_trace { trace_of(seen) } else { Vec::new() };
                Reply::status(ask(&mut kept.lock().unwrap(), &next, &headers).status)
            })
        });
        Self { apps: apps.collect(), client: mesh.pod("client-1", "client"), _pods: pods, _mesh: mesh }
    }

    /// Sends so many requests, one after another; returns what each service has got.
    fn ask(&self, count: usize) -> Vec<usize> {
        let begun = Instant::now();
        self.client.run_in(|| {
            let mut kept = None;
            for n in 0..count {
                let response = ask(&mut kept, &format!("{}:80", ip(0)), &[("traceparent", &parent(n + 1))]);
                assert_eq!(response.status, 503, "{}", response.text());
            }
        });
        let got: Vec<usize> = self.apps.iter().map(App::count).collect();
        eprintln!("{count} requests in {:?}: the services got {got:?}", begun.elapsed());
        got
    }
}

#[test]
fn a_leaf_that_fails_gets_a_fifth_more_however_many_hops_repeat() {
    let Some(sandbox) = enter() else { return };
    let got = Chain::start(sandbox, true).ask(300);

    assert!(got[3] <= 360, "the last of four gets more than 1.2 times what the client sends: {got:?}");
    assert!(got[3] > 300, "the hop before it repeats: {got:?}");
    assert!(got[..3].iter().all(|count| *count == 300), "and that hop alone: {got:?}");
}

#[test]
fn where_apps_pass_no_trace_on_the_budgets_bound_what_a_leaf_gets() {
    let Some(sandbox) = enter() else { return };
    let got = Chain::start(sandbox, false).ask(300);

    // Four hops, each a fifth.
    assert!(got[3] <= 623, "{got:?}");
}

#[test]
fn what_is_made_for_a_repetition_is_not_repeated() {
    let Some(sandbox) = enter() else { return };
    let service = |number: usize, name: &str| {
        let rules = format!(
            "    - retry: {{codes: [503], attempts: 1, backoff: 1ms}}\n      backendRefs: [{{name: {name}, port: 80}}]\n"
        );
        yaml::service(name, &ip(number), 80, 8080) + &yaml::http_route(name, name, &rules)
    };
    let mut mesh = Mesh::start(sandbox, &(service(0, "web") + &service(1, "db")));
    let (web, db) = (mesh.pod("web-1", "web"), mesh.pod("db-1", "db"));
    let db = App::http(&db, 8080, |_| Reply::status(503));
    let calls = AtomicUsize::new(0);
    let web = App::http(&web, 8080, move |seen| {
        // Busy at first; then it is the other one that fails.
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        let asked = (!is_first).then(|| ask(&mut None, &format!("{}:80", ip(1)), &trace_of(seen)));
        Reply::status(asked.map_or(503, |asked| asked.status))
    });
    let client = mesh.pod("client-1", "client");

    let answer = client.run_in(|| ask(&mut None, &format!("{}:80", ip(0)), &[("traceparent", &parent(1))]));

    assert_eq!((answer.status, web.count(), db.count()), (503, 2, 1));
}

/// Who gets requests that have a deadline: `web` asks `db` for them, after a while.
struct Slow {
    asks: Arc<Mutex<Vec<Response>>>,
    web: App,
    db: App,
    client: Pod,
    _pods: Vec<Pod>,
    _mesh: Mesh,
}

/// When `web` asks `db`.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Late,
    AfterItsAnswer,
}

impl Slow {
    fn start(sandbox: Sandbox, passes_trace: bool, when: When) -> Self {
        let rules = "    - name: soon\n      timeouts: {request: 300ms}\n      backendRefs: [{name: web, port: 80}]\n";
        let yaml = yaml::service("web", &ip(0), 80, 8080)
            + &yaml::http_route("web", "web", rules)
            + &yaml::service("db", &ip(1), 80, 8080);
        let mut mesh = Mesh::start(sandbox, &yaml);
        let pods = vec![mesh.pod("web-1", "web"), mesh.pod("db-1", "db")];
        let asks = Arc::<Mutex<Vec<Response>>>::default();
        let db = App::echo(&pods[1], 8080, "db");
        let told = asks.clone();
        let web = App::http(&pods[0], 8080, move |seen| {
            let (seen, told) = (seen.clone(), told.clone());
            // The namespace is the thread's, and of those that it starts.
            let work = std::thread::spawn(move || {
                sleep(Duration::from_millis(500));
                let headers = if passes_trace { trace_of(&seen) } else { Vec::new() };
                let response = ask(&mut None, &format!("{}:80", ip(1)), &headers);
                told.lock().unwrap().push(response);
            });
            match when {
                When::Late => Reply::status(if work.join().is_ok() { 200 } else { 500 }),
                When::AfterItsAnswer => Reply::status(202),
            }
        });
        Self { asks, web, db, client: mesh.pod("client-1", "client"), _pods: pods, _mesh: mesh }
    }

    fn ask(&self) -> (Response, Response) {
        let answer = self.client.run_in(|| ask(&mut None, &format!("{}:80", ip(0)), &[("traceparent", &parent(1))]));
        (answer, wait::until("web has asked", || self.asks.lock().unwrap().pop()))
    }
}

#[test]
fn nothing_is_asked_for_a_request_whose_time_is_up() {
    let Some(sandbox) = enter() else { return };
    let slow = Slow::start(sandbox, true, When::Late);

    let (answer, asked) = slow.ask();

    let says = "no response within the request timeout of 300 ms set by HTTPRoute/shop/web/soon";
    assert!(answer.status == 504 && answer.text().contains(says), "{} {}", answer.status, answer.text());
    let says = "E008 http_response_timeout: the time of the request that this one is made for is up";
    assert!(asked.status == 504 && asked.text().contains(says), "{} {}", asked.status, asked.text());
    assert_eq!(slow.db.count(), 0);
    let seen = &slow.web.seen()[0].headers;
    assert!(seen["tracestate"].starts_with("outrigger="), "{seen:?}");
    assert!(!seen.keys().any(|name| name.starts_with("outrigger")), "{seen:?}");
}

#[test]
fn an_app_that_has_answered_goes_on() {
    let Some(sandbox) = enter() else { return };
    let slow = Slow::start(sandbox, true, When::AfterItsAnswer);
    let (answer, asked) = slow.ask();
    assert_eq!((answer.status, asked.status), (202, 200), "{}", asked.text());
    assert!(!slow.db.seen()[0].headers.contains_key("tracestate"), "it is between web and its sidecar");
}

#[test]
fn an_app_that_passes_no_trace_on_asks_as_without_a_mesh() {
    let Some(sandbox) = enter() else { return };
    let slow = Slow::start(sandbox, false, When::Late);
    let (answer, asked) = slow.ask();
    assert_eq!((answer.status, asked.status, slow.db.count()), (504, 200, 1), "{}", asked.text());
}

#[test]
fn a_grpc_client_s_timeout_ends_its_call_and_shrinks_on_its_way() {
    let Some(sandbox) = enter() else { return };
    let rules = "    - timeouts: {request: 2s}\n      backendRefs: [{name: web, port: 80}]\n";
    let yaml = yaml::service("web", &ip(0), 80, 8080)
        + &yaml::http_route("web", "web", rules)
        + &yaml::service("idle", &ip(1), 80, 8080);
    let mut mesh = Mesh::start(sandbox, &yaml);
    let (web, idle) = (mesh.pod("web-1", "web"), mesh.pod("idle-1", "idle"));
    let web = App::echo(&web, 8080, "web");
    let _idle = App::http(&idle, 8080, |_| Reply::ok("").after(Duration::from_secs(60)));
    let client = mesh.pod("client-1", "client");
    let call = |service, timeout: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/grpc")], timeout].concat();
        client.run_in(|| ask(&mut None, &format!("{}:80", ip(service)), &headers))
    };

    let begun = Instant::now();
    let ended = call(1, &[("grpc-timeout", "300m")]);
    assert_eq!(ended.header("grpc-status"), "4", "{ended:?}");
    assert!(ended.header("grpc-message").contains("300 ms that the client set by grpc-timeout"), "{ended:?}");
    assert!((300..3_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());

    for (sent, most) in [("10S", 2_000_000), ("1500m", 1_500_000)] {
        call(0, &[("grpc-timeout", sent)]);
        let seen = web.seen().pop().unwrap().headers["grpc-timeout"].clone();
        let micros = match seen.split_at(seen.len() - 1) {
            (number, "m") => number.parse::<u64>().unwrap() * 1_000,
            (number, "u") => number.parse().unwrap(),
            (number, "n") => number.parse::<u64>().unwrap() / 1_000,
            _ => panic!("{seen}"),
        };
        assert!(micros <= most && seen.len() <= 9, "{sent} became {seen}");
    }
    call(0, &[]);
    let seen = web.seen().pop().unwrap().headers;
    assert!(!seen.contains_key("grpc-timeout") && !seen.contains_key("tracestate"), "{seen:?}");
}

#[test]
fn bytes_are_counted_by_the_zone_that_they_go_to() {
    let Some(sandbox) = enter() else { return };
    let service = |number: usize, name: &str| yaml::service(name, &ip(number), 80, 8080);
    let mut mesh = Mesh::start(sandbox, &(service(0, "near") + &service(1, "far") + &service(2, "somewhere")));
    let mut pod = |name: &str, zone: &str| {
        let namespace = mesh.bare(name);
        let yaml = yaml::workload(name, name, &namespace.v4().to_string(), "");
        mesh.write(&format!("{name}.yaml"), &(yaml + zone));
        mesh.pod_in(namespace, name, &[])
    };
    let client = pod("client", "  zone: east\n");
    let pods = [pod("near", "  zone: east\n"), pod("far", "  zone: west\n"), pod("somewhere", "")];
    let sizes = [100_000, 200_000, 300_000];
    let apps = pods.iter().zip(sizes).map(|(pod, size)| App::http(pod, 8080, move |_| Reply::ok(vec![b'x'; size])));
    let _apps: Vec<App> = apps.collect();

    for number in 0..3 {
        client.run_in(|| ask(&mut None, &format!("{}:80", ip(number)), &[("x-long", &"y".repeat(1_000))]));
    }

    for (zone, size) in ["same", "other", "unknown"].into_iter().zip(sizes) {
        let label = format!("zone=\"{zone}\"");
        let bytes = |way: &str| client.metric(&format!("outrigger_outbound_{way}_bytes_total"), &[&label]) as usize;
        let (sent, received) = (bytes("sent"), bytes("received"));
        assert!((size..size + 20_000).contains(&received), "{zone}: {received}");
        assert!((1_000..20_000).contains(&sent), "{zone}: {sent}");
    }
}
