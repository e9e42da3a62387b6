//! Pods that end one after the other under load, as Kubernetes has them end: the sidecar is told (`preStop`), the application gets SIGTERM and ends in
//! good order, then the sidecar does. Nothing fails, and nothing that was open ends before the application ends it.
//!
//! Twenty end under 200 requests a second; in the long form (`cargo xtask test --only netns --long terminations`) 1,000 under 500. `OUTRIGGER_TERMINATIONS` sets another number.

mod app;
mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use outrigger_tests::{Mesh, Pod, enter, wait, yaml};

use app::{App, Processed};
use load::Tally;

const WEB: &str = "10.96.0.10";

/// Pods that serve, before and after.
const SERVING: usize = 3;

/// How many endpoints a client's sidecar has, and whether one of them is this workload.
fn knows(client: &Pod, workload: &str) -> (usize, bool) {
    let config = client.config();
    let mut fewest = usize::MAX;
    let mut named = false;
    for backend in config["backends"].as_array().into_iter().flatten() {
        let endpoints = backend["endpoints"].as_array().cloned().unwrap_or_default();
        fewest = fewest.min(endpoints.len());
        named |= endpoints.iter().any(|endpoint| endpoint["workload"] == *format!("shop/{workload}"));
    }
    (if fewest == usize::MAX { 0 } else { fewest }, named)
}

/// Waits until the clients' sidecars have been told, of both ports, those that have connections to the pod; a client that has none is not.
fn told(clients: &[Pod], workload: &str) {
    let begun = Instant::now();
    let is_told = |client: &Pod| {
        let config = client.config();
        let backends = config["backends"].as_array().cloned().unwrap_or_default();
        let all = backends.iter().filter_map(|backend| backend["endpoints"].as_array()).flatten();
        let mut own = all.filter(|endpoint| endpoint["workload"] == *format!("shop/{workload}"));
        own.all(|endpoint| endpoint["leaving"] == true)
    };
    while begun.elapsed() < Duration::from_secs(1) && !clients.iter().all(is_told) {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn pods_that_end_under_load_cost_nothing() {
    let Some(sandbox) = enter() else { return };
    let long = std::env::var_os("OUTRIGGER_LONG").is_some();
    let (usual, rate) = if long { (1_000, 500) } else { (20, 200) };
    let asked = std::env::var("OUTRIGGER_TERMINATIONS").ok().and_then(|asked| asked.parse().ok());
    let terminations = asked.unwrap_or(usual);
    let service = yaml::service("web", WEB, 80, 8080).replace("    - port: 80\n", "    - port: 80\n      name: http\n");
    let service = service + "    - port: 81\n      targetPort: 8081\n      name: lines\n";
    let mut mesh = Mesh::start(sandbox, &service);
    let (processed, tally) = (Processed::default(), Arc::new(Tally::default()));
    let mut serving: std::collections::VecDeque<(String, Pod, App)> = (0..SERVING)
        .map(|n| {
            let name = format!("web-{n}");
            let pod = mesh.pod(&name, "web");
            let app = App::start(&pod, &processed);
            (name, pod, app)
        })
        .collect();
    let clients = ["http1", "by-load"].map(|wire| {
        mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire, "--access-log", "errors"])
    });
    let at = |port| format!("{WEB}:{port}").parse().unwrap();
    let loads: Vec<_> = clients.iter().map(|client| load::start(client, (at(80), at(81)), rate / 2, &tally)).collect();
    wait::until_true("all serve", || clients.iter().all(|client| knows(client, "web-0").0 == SERVING));

    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for n in 0..terminations {
        let name = format!("web-{}", n + SERVING);
        let pod = mesh.pod_with(&name, "web", "", &["--access-log", "errors"]);
        let app = App::start(&pod, &processed);
        serving.push_back((name.clone(), pod, app));
        wait::until_true("the new one is known", || clients.iter().all(|client| knows(client, &name).1));
        let (name, mut pod, app) = serving.pop_front().unwrap();

        pod.leave();
        let gone = || {
            mesh.remove(&format!("{name}.yaml"));
            wait::until_true("the end is known", || !clients.iter().any(|client| knows(client, &name).1));
        };
        if n % 2 == 0 {
            std::thread::sleep(Duration::from_millis(50));
            gone();
            tally.answered();
            app.terminate();
        } else {
            // The application ends before anybody but the peers of its sidecar knows.
            let refusing = tally.refusing.blocking_write();
            told(&clients, &name);
            tally.answered();
            app.terminate();
            gone();
            drop(refusing);
        }
        let asked = Instant::now();
        pod.sidecar().terminate();
        let status = pod.sidecar().ended();
        longest = longest.max(asked.elapsed());
        assert!(status.success(), "{name}: {status}\n{}", pod.log());
        if tally.failures.lock().unwrap().len() > 20 {
            break;
        }
    }
    let took = begun.elapsed();
    tally.stop();
    // Those that wait for a last word hear one.
    serving.into_iter().for_each(|(_, _pod, app)| app.terminate());
    loads.into_iter().for_each(|load| load.join().unwrap().unwrap());

    let failures = tally.failures.lock().unwrap().clone();
    let done = tally.done.lock().unwrap().clone();
    eprintln!("{terminations} pods ended in {took:?}, a sidecar within {longest:?} of its SIGTERM: {done:#?}");
    let logs = || clients.iter().map(Pod::log).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failures: {failures:#?}\n{}", failures.len(), logs());
    for what in
        ["HTTP/1 GET", "HTTP/1 POST", "HTTP/2 POST", "gRPC unary", "gRPC stream", "download", "upgraded", "bytes"]
    {
        assert!(done.get(what).is_some_and(|done| *done > 0), "{what}: {done:?}");
    }
    let processed = processed.lock().unwrap();
    let twice: Vec<_> = processed.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "processed more than once: {twice:?}");
    let lost: Vec<_> =
        tally.posted.lock().unwrap().iter().filter(|body| !processed.contains_key(*body)).cloned().collect();
    assert!(lost.is_empty(), "answered and not processed: {lost:?}");
}
