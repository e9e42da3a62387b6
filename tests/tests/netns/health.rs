//! Endpoints that hang, refuse or come back, as clients and the endpoints' apps see it: HTTP and bytes.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_tests::{App, Mesh, Pod, Reply, enter, wait, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "10.96.0.10";
const DB: &str = "10.96.0.20";

/// An attempt has 300 ms, and one more where that is not enough.
const IN_TIME: &str = "    - timeouts: {backendRequest: 300ms}\n      retry: {codes: [504], attempts: 1, backoff: 1ms}\n      \
                       backendRefs: [{name: web, port: 80}]\n";

/// The same without another attempt.
const ONCE: &str = "    - timeouts: {backendRequest: 300ms}\n      backendRefs: [{name: web, port: 80}]\n";

/// An app that can be made to hang.
struct Web {
    pod: Pod,
    app: App,
    hangs: Arc<AtomicBool>,
}

fn web(mesh: &mut Mesh, n: usize) -> Vec<Web> {
    let one = |n| {
        let pod = mesh.pod(&format!("web-{n}"), "web");
        let hangs = Arc::new(AtomicBool::new(false));
        let does = hangs.clone();
        let app = App::http(&pod, 8080, move |_| match does.load(Ordering::Relaxed) {
            true => Reply::ok("late").after(Duration::from_secs(600)),
            false => Reply::ok("in time"),
        });
        Web { pod, app, hangs }
    };
    (1..=n).map(one).collect()
}

/// Sends so many requests from a few connections; returns the statuses that were not 200.
fn send(client: &Pod, count: usize) -> Vec<u16> {
    std::thread::scope(|scope| {
        let each = || (0..count / 4).map(|_| client.get(&format!("http://{WEB}/")).status).collect::<Vec<_>>();
        let all: Vec<_> = (0..4).map(|_| scope.spawn(each)).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).filter(|status| *status != 200).collect()
    })
}

#[test]
fn an_endpoint_that_hangs_gets_next_to_no_requests_and_costs_none() {
    let Some(sandbox) = enter() else { return };
    let mut mesh =
        Mesh::start(sandbox, &(yaml::service("web", WEB, 80, 8080) + &yaml::http_route("web", "web", IN_TIME)));
    let all = web(&mut mesh, 5);
    let client = mesh.pod("client-1", "client");
    wait::until_true("all are known", || {
        let _known = client.get(&format!("http://{WEB}/"));
        client.config()["backends"][0]["endpoints"].as_array().is_some_and(|all| all.len() == 5)
    });

    all[0].hangs.store(true, Ordering::Relaxed);
    let before = all[0].app.count();
    assert_eq!(send(&client, 2000), Vec::<u16>::new(), "another endpoint answers in its place");

    let there = all[0].app.count() - before;
    assert!(there <= 20, "{there} of 2000 requests went to the endpoint that hangs");

    all[0].hangs.store(false, Ordering::Relaxed);
    wait::until_true("it gets requests again", || {
        let before = all[0].app.count();
        send(&client, 100);
        all[0].app.count() - before > 10
    });
}

#[test]
fn when_all_hang_requests_fail_at_once_with_the_cause_and_the_first_answer_ends_it() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &(yaml::service("web", WEB, 80, 8080) + &yaml::http_route("web", "web", ONCE)));
    let all = web(&mut mesh, 2);
    let client = mesh.pod("client-1", "client");
    assert_eq!(send(&client, 20), Vec::<u16>::new());

    all.iter().for_each(|web| web.hangs.store(true, Ordering::Relaxed));
    let refusal = wait::until("they are known to hang", || {
        let response = client.get(&format!("http://{WEB}/"));
        (response.status == 503).then_some(response)
    });
    assert!(refusal.header("proxy-status").contains("E011"), "{}", refusal.header("proxy-status"));
    let body = refusal.text();
    assert!(body.contains("none of the endpoints of shop/web:80 (2) has answered in time"), "{body}");
    let before: usize = all.iter().map(|web| web.app.count()).sum();
    let refused = send(&client, 400).into_iter().filter(|status| *status == 503).count();
    let sent = all.iter().map(|web| web.app.count()).sum::<usize>() - before;
    assert!(refused > 300 && sent <= 400 - refused, "{refused} refused, {sent} sent");

    all.iter().for_each(|web| web.hangs.store(false, Ordering::Relaxed));
    wait::until_true("the first answer ends it", || client.get(&format!("http://{WEB}/")).status == 200);
    assert_eq!(send(&client, 40), Vec::<u16>::new());
    assert!(all.iter().all(|web| web.pod.config()["inFlight"].is_number()));
}

/// Says a word to whoever connects, and waits for his end.
fn greeter(pod: &Pod, accepted: &Arc<AtomicUsize>) -> App {
    let accepted = accepted.clone();
    App::tcp(pod, 5000, move |mut stream| {
        accepted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let _ = stream.write_all(b"hello").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
    })
}

/// Connects and takes the word.
fn greeted(client: &Pod) -> std::io::Result<TcpStream> {
    let mut stream = client.run_in(|| TcpStream::connect(format!("{DB}:5000")))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut word = [0; 5];
    stream.read_exact(&mut word)?;
    Ok(stream)
}

#[test]
fn connections_are_spread_by_what_is_open_and_an_app_that_is_down_costs_none() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("db", DB, 5000, 5000));
    let pods: Vec<_> = (1..=4).map(|n| mesh.pod(&format!("db-{n}"), "db")).collect();
    let accepted: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    // The fourth one's app is down.
    let _apps: Vec<_> = pods.iter().zip(&accepted).map(|(pod, accepted)| greeter(pod, accepted)).collect();
    let client = mesh.pod("client-1", "client");

    let open: Vec<_> =
        (0..60).map(|n| greeted(&client).unwrap_or_else(|error| panic!("connection {n}: {error}"))).collect();

    let counts: Vec<_> = accepted.iter().map(|accepted| accepted.load(Ordering::Relaxed)).collect();
    assert!(counts.iter().all(|count| (16..=24).contains(count)), "{counts:?}");
    wait::until_true("the pod whose app is down says so", || pods[3].log().contains("E003"));
    drop(open);

    // All of them are gone: the client's sidecar knows why.
    drop(_apps);
    assert!(greeted(&client).is_err());
    wait::until_true("the client's sidecar says why", || {
        client.log().contains("E003") && client.log().contains("says E003 connection_refused")
    });
}
