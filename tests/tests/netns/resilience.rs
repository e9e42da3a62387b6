//! Faults and restarts: nothing of the mesh's making may cost a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use outrigger_tests::{App, Client, Mesh, Pod, Reply, enter, wait, yaml};

const WEB: &str = "10.96.0.10";
const OTHER: &str = "10.96.0.11";

fn services() -> String {
    format!("{}{}", yaml::service("web", WEB, 80, 8080), yaml::service("other", OTHER, 80, 8080))
}

/// Requests one after another from a pod, until stopped. Every failure counts.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<std::io::Result<Vec<String>>>,
}

impl Load {
    /// `fresh` opens a new connection for every request.
    fn start(pod: &Pod, address: &str, fresh: bool) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, address) = (stop.clone(), sent.clone(), address.to_owned());
        let run = move || {
            let mut failures = Vec::new();
            let mut open: Option<Client> = None;
            while !stopped.load(Ordering::Relaxed) {
                let mut client = match open.take().map_or_else(|| Client::connect(&address), Ok) {
                    Ok(client) => client,
                    Err(error) => {
                        failures.push(format!("connect: {error}"));
                        continue;
                    }
                };
                match client.send("POST", "/", &[], b"not idempotent") {
                    Ok(response) if response.status == 200 => {
                        if !fresh && response.header("connection") != "close" {
                            open = Some(client);
                        }
                    }
                    Ok(response) => failures.push(format!("{} {}", response.status, response.text())),
                    Err(error) => failures.push(format!("answer: {error}")),
                }
                counted.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            failures
        };
        let thread = pod.spawn(run).unwrap();
        Self { stop, sent, thread }
    }

    fn wait_for(&self, more: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + more;
        wait::until_true("load goes on", || self.sent.load(Ordering::Relaxed) >= goal);
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.thread.join().unwrap().unwrap();
        let sent = self.sent.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "{} of {sent} requests failed, the first: {}", failures.len(), failures[0]);
    }
}

#[test]
fn of_many_that_refuse_the_one_that_listens_is_found() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let pods: Vec<Pod> = (1..=8).map(|number| mesh.pod(&format!("web-{number}"), "web")).collect();
    let _app = App::echo(&pods[4], 8080, "web-5");
    let client = mesh.pod("client-1", "client");

    let load = Load::start(&client, &format!("{WEB}:80"), true);
    load.wait_for(200);

    load.finish();
}

#[test]
fn the_control_plane_dies_and_returns_and_no_request_fails() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let mut client = mesh.pod("client-1", "client");
    let (kept, fresh) = (Load::start(&client, "10.96.0.10:80", false), Load::start(&client, "10.96.0.10:80", true));
    kept.wait_for(100);

    mesh.kill_control_plane();
    kept.wait_for(300);
    fresh.wait_for(100);
    mesh.start_control_plane();
    wait::until_true("the sidecar is in sync again", || client.config()["sync"]["connected"] == true);
    fresh.wait_for(100);
    kept.finish();
    fresh.finish();

    // Changes arrive again.
    let second = mesh.pod("web-2", "web");
    let _second = App::echo(&second, 8080, "web-2");
    wait::until_true("the new endpoint is used", || client.get(&format!("http://{WEB}/")).header("x-app") == "web-2");
    assert!(client.sidecar().alive());
}

#[test]
fn a_sidecar_that_restarts_without_a_control_plane_serves_from_its_last_good_state() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let mut web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let mut client = mesh.pod("client-1", "client");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);

    mesh.kill_control_plane();
    client.kill_sidecar();
    client.start_sidecar();
    client.ready();
    assert_eq!(client.get(&format!("http://{WEB}/")).header("x-app"), "web-1", "the outbound side restarted");
    web.kill_sidecar();
    web.start_sidecar();
    web.ready();
    assert_eq!(client.get(&format!("http://{WEB}/")).header("x-app"), "web-1", "the inbound side restarted");
    assert_eq!(client.config()["sync"]["restored"], true);
    assert_eq!(client.config()["backends"][0]["endpoints"][0]["identity"], "spiffe://mesh.local/ns/shop/sa/web");
}

#[test]
fn a_reconnect_brings_only_what_differs() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);

    mesh.kill_control_plane();
    mesh.start_control_plane();
    let sidecar = wait::until("the sidecar has reconnected", || {
        let page = mesh.control_plane_get("/sidecars")?.json();
        let all = page["sidecars"].as_array().or_else(|| page.as_array())?.clone();
        all.into_iter().find(|sidecar| sidecar.to_string().contains("client-1"))
    });
    let sent = sidecar["sent"].as_u64().unwrap_or_else(|| panic!("{sidecar}"));
    assert_eq!(sent, 0, "nothing changed: {sidecar}");
}

#[test]
fn a_terminated_sidecar_finishes_what_is_in_flight_and_then_ends() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let mut web = mesh.pod("web-1", "web");
    let app = App::http(&web, 8080, |seen| match seen.path.as_str() {
        "/slow" => Reply::ok("whole").after(Duration::from_secs(2)),
        _ => Reply::ok("quick"),
    });
    let client = mesh.pod("client-1", "client");
    let mut idle = client.connect(&format!("{WEB}:80"));
    assert_eq!(idle.get("/").unwrap().text(), "quick");
    // Without a sidecar of its own that would hear it instead.
    let (outside, address) = (mesh.bare("outside"), format!("{}:8080", web.ip()));
    let mut kept = outside.run(|| Client::connect(&address)).unwrap().unwrap();
    assert_eq!(kept.get("/").unwrap().header("connection"), "");
    let slow = {
        let mut connection = client.connect(&format!("{WEB}:80"));
        std::thread::spawn(move || connection.get("/slow").unwrap())
    };
    wait::until_true("the request is at the app", || app.seen().iter().any(|seen| seen.path == "/slow"));

    web.sidecar().terminate();

    // Still reachable while it drains.
    assert_eq!(idle.get("/").unwrap().text(), "quick");
    assert_eq!(kept.get("/").unwrap().header("connection"), "close", "the caller is told to go elsewhere");
    assert_eq!(slow.join().unwrap().text(), "whole");
    let status = web.sidecar().ended();
    assert!(status.success(), "{status}");
}

#[test]
fn an_endpoint_that_drains_and_goes_costs_no_request() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let stays = mesh.pod("web-1", "web");
    let _stays = App::echo(&stays, 8080, "web-1");
    let mut goes = mesh.pod("web-2", "web");
    let goes_app = App::echo(&goes, 8080, "web-2");
    let client = mesh.pod("client-1", "client");
    let load = Load::start(&client, "10.96.0.10:80", false);
    wait::until_true("both endpoints serve", || goes_app.count() > 50);

    // As a rollout does it: the endpoint leaves the service, then the pod is told to end.
    mesh.remove("web-2.yaml");
    goes.sidecar().terminate();
    goes.sidecar().ended();
    drop(goes_app);
    load.wait_for(500);
    load.finish();
}

#[test]
fn an_endpoint_that_is_killed_costs_no_more_than_what_it_had_in_flight() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let stays = mesh.pod("web-1", "web");
    let _stays = App::echo(&stays, 8080, "web-1");
    let mut dies = mesh.pod("web-2", "web");
    let _dies = App::echo(&dies, 8080, "web-2");
    let client = mesh.pod("client-1", "client");
    let mut connection = client.connect(&format!("{WEB}:80"));
    for _ in 0..50 {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }

    dies.kill_sidecar();

    // One request at a time: at most one is in flight, and GET may be repeated elsewhere.
    for n in 0..200 {
        let response = connection.get("/").unwrap();
        assert_eq!(response.status, 200, "request {n}: {}", response.text());
    }
}

#[test]
fn an_unchanged_destination_survives_a_change_elsewhere() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let load = Load::start(&client, "10.96.0.10:80", false);
    load.wait_for(50);

    let mut others = Vec::new();
    for n in 1..=5 {
        let pod = mesh.pod(&format!("other-{n}"), "other");
        let app = App::echo(&pod, 8080, "other");
        assert_eq!(client.get(&format!("http://{OTHER}/")).status, 200);
        others.push((pod, app));
    }
    drop(others);
    load.wait_for(50);
    load.finish();
}
