//! TrafficPolicies at work: what a Service wants of its callers beyond routes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_tests::{App, Client, Mesh, Pod, Reply, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "10.96.0.10";
const URL: &str = "http://10.96.0.10/";

fn web() -> String {
    yaml::service("web", WEB, 80, 8080)
}

/// A TrafficPolicy for the service `web`; `spec` is in flow style.
fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: outrigger.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{targetRefs: [{{group: '', kind: Service, name: web}}], {spec}}}\n"
    )
}

/// Waits until the client's sidecar has the policy in force.
fn in_force(client: &Pod) {
    let _answered = client.get(URL);
    wait::until_true("the policy is in force", || {
        let config = client.config();
        config["backends"].as_array().is_some_and(|all| all.iter().any(|backend| backend["policy"] == "shop/web"))
    });
}

#[test]
fn retries_stay_within_the_budget_and_what_is_over_it_gets_503() {
    let Some(sandbox) = enter() else { return };
    let rule = "    - retry: {codes: [500], attempts: 1, backoff: 1ms}\n      backendRefs: [{name: web, port: 80}]\n";
    let budget = policy("retryBudget: {percent: 20, interval: 1h, minRetriesPerSecond: 0}");
    let mut mesh = Mesh::start(sandbox, &(web() + &yaml::http_route("retry", "web", rule) + &budget));
    let pod = mesh.pod("web-1", "web");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let _app = App::http(&pod, 8080, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::status(500)
    });
    let client = mesh.pod("client-1", "client");
    in_force(&client);
    calls.store(0, Ordering::Relaxed);

    let statuses: Vec<_> = (0..50).map(|_| client.get(URL)).collect();

    // The first request was before these: 51 earn ten retries.
    assert_eq!(calls.load(Ordering::Relaxed), 60, "fifty requests and a retry for every five");
    let over: Vec<_> = statuses.iter().filter(|response| response.status == 503).collect();
    assert_eq!(over.len(), 40);
    assert!(over[0].header("proxy-status").contains("E009"), "{:?}", over[0]);
    assert!(over[0].text().contains("the retry budget of shop/web:80 is spent"), "{}", over[0].text());
    assert_eq!(statuses.iter().filter(|response| response.status == 500).count(), 10, "a retry that failed, too");
}

#[test]
fn requests_beyond_a_limit_are_answered_at_once_with_503_and_the_code() {
    let Some(sandbox) = enter() else { return };
    let limits = policy("limits: {maxRequests: 2}");
    let mut mesh = Mesh::start(sandbox, &(web() + &limits));
    let pod = mesh.pod("web-1", "web");
    let gate = Gate::default();
    let _app = gate.app(&pod);
    let client = mesh.pod("client-1", "client");
    in_force(&client);

    let held: Vec<_> = (0..2).map(|_| background(&client, "/hold")).collect();
    wait::until_true("both are under way", || gate.waiting() == 2);
    let refused = client.get(URL);

    assert_eq!(refused.status, 503);
    assert!(refused.header("proxy-status").contains("error=connection_limit_reached"), "{refused:?}");
    assert!(
        refused.text().contains("E010") && refused.text().contains("maxRequests of shop/web:80 is 2"),
        "{refused:?}"
    );
    assert_eq!(gate.waiting(), 2, "the app did not hear of it");
    gate.open();
    for thread in held {
        assert_eq!(thread.join().unwrap().unwrap(), 200);
    }
    assert_eq!(client.get(URL).status, 200, "their places are free again");
}

#[test]
fn requests_wait_for_one_of_the_connections_and_only_so_many() {
    let Some(sandbox) = enter() else { return };
    let limits = policy("limits: {maxConnections: 1, maxPendingRequests: 1}");
    let mut mesh = Mesh::start(sandbox, &(web() + &limits));
    let pod = mesh.pod("web-1", "web");
    let gate = Gate::default();
    let _app = gate.app(&pod);
    let client = mesh.pod("client-1", "client");
    in_force(&client);

    let first = background(&client, "/hold");
    wait::until_true("the only connection is in use", || gate.waiting() == 1);
    let second = background(&client, "/hold");
    wait::until_true("the second waits", || client.config()["backends"][0]["pending"] == 1);
    let third = client.get(URL);

    assert_eq!(third.status, 503);
    assert!(third.text().contains("E010"), "{third:?}");
    assert!(third.text().contains("maxPendingRequests of shop/web:80 is 1"), "{third:?}");
    assert_eq!(gate.waiting(), 1, "the app has not heard of the second");
    gate.open();
    assert_eq!((first.join().unwrap().unwrap(), second.join().unwrap().unwrap()), (200, 200));
}

#[test]
fn a_connection_is_replaced_after_so_many_requests() {
    let Some(sandbox) = enter() else { return };
    let limits = policy("limits: {maxRequestsPerConnection: 2}");
    let mut mesh = Mesh::start(sandbox, &(web() + &limits));
    // Without a sidecar of its own the app sees the connections of the client's.
    let bare = mesh.bare("web-1");
    mesh.write(
        "web-1.yaml",
        &yaml::workload("web-1", "web", &bare.v4().to_string(), "").replace("spec:\n", "spec:\n  meshed: false\n"),
    );
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    let _app = App::tcp(&bare, 8080, move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(answer_all(stream))
    });
    let client = mesh.pod("client-1", "client");
    wait::until_true("the endpoint is known", || client.get(URL).status == 200);
    in_force(&client);
    let mut connection = client.connect("10.96.0.10:80");
    assert_eq!(connection.send("GET", "/", &[], b"").unwrap().status, 200);
    let before = opened.load(Ordering::Relaxed);

    (0..20).for_each(|_| assert_eq!(connection.send("GET", "/", &[], b"").unwrap().status, 200));

    let more = opened.load(Ordering::Relaxed) - before;
    assert!((10..=11).contains(&more), "{more} connections for twenty requests");
}

#[test]
fn an_endpoint_that_answers_500_is_left_out_and_comes_back() {
    let Some(sandbox) = enter() else { return };
    let ejection = policy("ejection: {consecutiveErrors: 3, baseEjectionTime: 2s}, loadBalancer: {type: RoundRobin}");
    let mut mesh = Mesh::start(sandbox, &(web() + &ejection));
    let (good, bad) = (mesh.pod("web-1", "web"), mesh.pod("web-2", "web"));
    let _good = App::echo(&good, 8080, "good");
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = sick.clone();
    let _bad = App::http(&bad, 8080, move |_| Reply::status(if is_sick.load(Ordering::Relaxed) { 500 } else { 200 }));
    let client = mesh.pod("client-1", "client");
    in_force(&client);
    let ejected = |client: &Pod| {
        let config = client.config();
        let endpoints = config["backends"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().filter(|endpoint| endpoint["ejected"] == true).count()
    };

    wait::until_true("it is left out", || {
        let _answered = client.get(URL);
        ejected(&client) == 1
    });
    assert!((0..20).all(|_| client.get(URL).status == 200), "all go to the other one");
    assert!(client.metric("outrigger_outbound_ejections_total", &[]) >= 1.0);

    sick.store(false, Ordering::Relaxed);
    wait::until_true("it is asked again", || client.get(URL).header("x-app").is_empty());
    let own = || (0..20).filter(|_| client.get(URL).header("x-app").is_empty()).count();
    wait::until_true("one after the other again", || own() == 10);
}

#[test]
fn without_a_policy_an_app_that_answers_500_is_not_left_out() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let pods = [mesh.pod("web-1", "web"), mesh.pod("web-2", "web")];
    let _apps = pods.each_ref().map(|pod| App::http(pod, 8080, |_| Reply::status(500)));
    let client = mesh.pod("client-1", "client");

    assert!((0..50).all(|_| client.get(URL).status == 500));

    // One of them at least has failed 25 times in a row.
    assert_eq!(client.metric("outrigger_outbound_ejections_total", &[]), 0.0);
}

#[test]
fn affinity_holds_while_endpoints_come_and_go() {
    let Some(sandbox) = enter() else { return };
    let hash = policy("loadBalancer: {type: ConsistentHash, consistentHash: {type: Header, header: {name: X-User}}}");
    let mut mesh = Mesh::start(sandbox, &(web() + &hash));
    let pods: Vec<_> = (1..=3).map(|n| mesh.pod(&format!("web-{n}"), "web")).collect();
    let _apps: Vec<_> =
        pods.iter().zip(["web-1", "web-2", "web-3"]).map(|(pod, name)| App::echo(pod, 8080, name)).collect();
    let (client, other) = (mesh.pod("client-1", "client"), mesh.pod("client-2", "client"));
    in_force(&client);
    in_force(&other);
    let users: Vec<String> = (0..60).map(|user| format!("user-{user}")).collect();
    let owners = |client: &Pod| -> Vec<String> {
        let mut connection = client.connect("10.96.0.10:80");
        let ask = |user: &String| connection.send("GET", "/", &[("x-user", user)], b"").unwrap();
        users.iter().map(ask).map(|response| response.header("x-app").to_owned()).collect()
    };

    let first = owners(&client);
    assert_eq!(owners(&client), first, "the same endpoint for the same user");
    assert_eq!(owners(&other), first, "whoever asks");
    for name in ["web-1", "web-2", "web-3"] {
        let own = first.iter().filter(|owner| *owner == name).count();
        assert!((8..=34).contains(&own), "{name} has {own} of 60");
    }

    let late = mesh.pod("web-4", "web");
    let _late = App::echo(&late, 8080, "web-4");
    let second = wait::until("the new endpoint is used", || {
        let now = owners(&client);
        now.iter().any(|owner| owner == "web-4").then_some(now)
    });
    for (before, after) in first.iter().zip(&second) {
        assert!(before == after || after == "web-4", "{before} lost a user to {after}");
    }
    mesh.remove("web-4.yaml");
    wait::until_true("all are back where they were", || owners(&client) == first);
}

#[test]
fn a_policy_that_is_broken_leaves_the_last_good_one_in_force_and_one_that_is_gone_counts_no_more() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    mesh.write("policy.yaml", &policy("loadBalancer: {type: ConsistentHash, consistentHash: {type: SourceIP}}"));
    let pods: Vec<_> = (1..=2).map(|n| mesh.pod(&format!("web-{n}"), "web")).collect();
    let _apps: Vec<_> = pods.iter().zip(["web-1", "web-2"]).map(|(pod, name)| App::echo(pod, 8080, name)).collect();
    let client = mesh.pod("client-1", "client");
    in_force(&client);
    let answered = || (0..20).map(|_| client.get(URL).header("x-app").to_owned()).collect::<BTreeSet<_>>();
    wait::until_true("all go to one", || answered().len() == 1);

    mesh.write("policy.yaml", &policy("loadBalancer: {type: Fastest}"));
    let error = wait::until("the error is told", || {
        let errors = mesh.control_plane_get("/config")?.json()["sourceErrors"].clone();
        errors.as_array().filter(|errors| !errors.is_empty()).map(|errors| errors[0].to_string())
    });
    assert!(error.contains("policy.yaml:5:") && error.contains("Fastest"), "{error}");
    assert_eq!(answered().len(), 1);

    mesh.write("policy.yaml", &policy("limits: {maxPendingRequests: 1}"));
    let problem = wait::until("the problem is told", || {
        let problems = mesh.control_plane_get("/config")?.json()["problems"].clone();
        problems.as_array().filter(|problems| !problems.is_empty()).map(|problems| problems[0].to_string())
    });
    assert!(problem.contains("spec.limits.maxPendingRequests needs maxConnections"), "{problem}");
    assert_eq!(answered().len(), 1);

    mesh.remove("policy.yaml");
    wait::until_true("both are used again", || answered().len() == 2);
}

#[test]
fn faults_hit_the_requests_that_they_are_for_and_say_so() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let fault = |spec: &str| policy(&format!("faultInjection: {{{spec}}}"));
    mesh.write("policy.yaml", &fault("abort: {httpStatus: 418, headers: [{name: x-test, value: 'yes'}]}"));
    let pod = mesh.pod("web-1", "web");
    let app = App::echo(&pod, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let ask = |headers: &[(&str, &str)]| client.connect("10.96.0.10:80").send("GET", "/", headers, b"").unwrap();

    wait::until_true("the fault is in force", || ask(&[("x-test", "yes")]).status == 418);
    let before = app.seen().len();
    let aborted = ask(&[("x-test", "yes")]);
    assert!(aborted.header("proxy-status").contains("error=fault_injected"), "{aborted:?}");
    assert!(aborted.text().contains("E018") && aborted.text().contains("TrafficPolicy shop/web"), "{}", aborted.text());
    assert_eq!(app.seen().len(), before, "the app did not hear of it");
    let grpc = ask(&[("x-test", "yes"), ("content-type", "application/grpc"), ("te", "trailers")]);
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, "2"));
    assert_eq!((ask(&[("x-test", "no")]).status, ask(&[]).status), (200, 200));
    assert!(client.metric("outrigger_outbound_faults_total", &["fault=\"abort\""]) >= 2.0);

    mesh.write("policy.yaml", &fault("abort: {grpcStatus: 8, percent: 100}"));
    wait::until_true("all are answered so", || ask(&[]).status == 429);
    mesh.write("policy.yaml", &fault("abort: {httpStatus: 503, percent: 0}, delay: {fixedDelay: 1200ms}"));
    wait::until_true("none is answered so", || ask(&[]).status == 200);
    let start = std::time::Instant::now();
    let delayed = ask(&[]);
    assert!(delayed.status == 200 && start.elapsed() >= Duration::from_millis(1200), "{:?}", start.elapsed());
    wait::until_true("the log says so", || client.log().contains(r#""outrigger.fault.delay_ms":1200"#));
    assert!(client.metric("outrigger_outbound_faults_total", &["fault=\"delay\""]) >= 1.0);

    mesh.remove("policy.yaml");
    wait::until_true("no fault is left", || {
        let start = std::time::Instant::now();
        ask(&[]).status == 200 && start.elapsed() < Duration::from_millis(1200)
    });
}

#[test]
fn a_fault_is_of_the_service_that_is_dialled_and_a_timeout_of_its_route_sees_the_delay() {
    let Some(sandbox) = enter() else { return };
    let rule = "    - timeouts: {request: 300ms}\n      backendRefs: [{name: back, port: 80}]\n";
    let back = yaml::service("back", "10.96.0.11", 80, 8080);
    let abort = policy("faultInjection: {abort: {httpStatus: 503}}").replace("name: web", "name: back");
    let mut mesh = Mesh::start(sandbox, &(web() + &back + &yaml::http_route("r", "web", rule) + &abort));
    let pod = mesh.pod("back-1", "back");
    let _app = App::echo(&pod, 8080, "back-1");
    let client = mesh.pod("client-1", "client");

    wait::until_true("its own service has the fault", || client.get("http://10.96.0.11/").status == 503);
    assert_eq!(client.get(URL).status, 200, "a route of another service leads past it");

    mesh.write("delay.yaml", &policy("faultInjection: {delay: {fixedDelay: 1m}}"));
    let late = wait::until("the delay is in force", || Some(client.get(URL)).filter(|response| response.status == 504));
    assert!(late.text().contains("E008"), "{}", late.text());
}

/// An app whose answers to `/hold` wait until the gate opens.
#[derive(Clone, Default)]
struct Gate {
    waiting: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
}

impl Gate {
    fn app(&self, pod: &Pod) -> App {
        let gate = self.clone();
        App::tcp(pod, 8080, move |stream| Box::pin(gate.clone().serve(stream)))
    }

    async fn serve(self, mut stream: tokio::net::TcpStream) {
        while let Some(head) = head(&mut stream).await {
            if head.starts_with("GET /hold ") {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                while !self.open.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

async fn answer_all(mut stream: tokio::net::TcpStream) {
    while head(&mut stream).await.is_some() {
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// Reads the head of a request without a body; `None` at the end of the connection.
async fn head(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Sends a request from the pod on a thread of its own, which returns the status.
fn background(client: &Pod, path: &'static str) -> std::thread::JoinHandle<std::io::Result<u16>> {
    client.spawn(move || Client::connect("10.96.0.10:80").unwrap().send("GET", path, &[], b"").unwrap().status).unwrap()
}
