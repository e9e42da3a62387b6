//! Who gets a sidecar, and what a pod is like with one.

use outrigger_tests::cluster::{Space, Workload, service};
use serde_json::Value;

/// Whether each of an application's pods has a sidecar.
pub(crate) fn meshed(space: &Space, app: &str) -> Vec<bool> {
    let has = |pod: &Value| {
        let inits = pod["spec"]["initContainers"].as_array();
        inits.into_iter().flatten().any(|container| container["name"] == "outrigger-sidecar")
    };
    space.pods(app).iter().map(has).collect()
}

#[test]
fn a_labelled_namespace_is_meshed_after_a_restart_and_plain_again_without_the_label() {
    let Some(space) = Space::plain() else { return };
    space.deploy([Workload::new("web"), Workload::new("client")]);
    assert_eq!(meshed(&space, "web"), [false]);
    let plain = space.seen("deployment/client", "http://web/before");
    assert_eq!(plain["headers"].get("Traceparent"), None, "{plain:#}");

    space.label("outrigger.io/inject=enabled");
    ["deployment/web", "deployment/client"].iter().for_each(|workload| space.restart(workload));

    assert_eq!((meshed(&space, "web"), meshed(&space, "client")), (vec![true], vec![true]));
    assert_eq!(space.seen("deployment/client", "http://web/after")["path"], "/after");
    let mutual = |of, name| space.metric(of, name, &["tls=\"mutual\""]);
    assert_eq!(mutual("deployment/client", "http_client_request_duration_seconds_count"), 1.0);
    assert_eq!(mutual("deployment/web", "http_server_request_duration_seconds_count"), 1.0);

    space.label("outrigger.io/inject-");
    ["deployment/web", "deployment/client"].iter().for_each(|workload| space.restart(workload));

    assert_eq!((meshed(&space, "web"), meshed(&space, "client")), (vec![false], vec![false]));
    assert_eq!(space.seen("deployment/client", "http://web/again")["path"], "/again");
}

#[test]
fn a_pods_label_wins_over_its_namespaces() {
    let Some(space) = Space::meshed() else { return };

    space.deploy([Workload::new("out").labels("outrigger.io/inject: disabled"), Workload::new("in")]);

    assert_eq!((meshed(&space, "out"), meshed(&space, "in")), (vec![false], vec![true]));
    drop(space);
    let Some(space) = Space::plain() else { return };
    space.deploy([Workload::new("in").labels("outrigger.io/inject: enabled"), Workload::new("out")]);
    assert_eq!((meshed(&space, "out"), meshed(&space, "in")), (vec![false], vec![true]));
}

#[test]
fn a_pod_on_the_hosts_network_is_left_alone() {
    let Some(space) = Space::meshed() else { return };

    let args = ["serve", "-http", ":18080", "-tcp-echo", "", "-tcp-banner", ""];
    let probe = "          readinessProbe: {httpGet: {path: /ready, port: 18080}, periodSeconds: 1}\n";
    space.deploy([Workload::new("host").args(&args).container(probe).pod("      hostNetwork: true\n")]);

    assert_eq!(meshed(&space, "host"), [false]);
}

#[test]
fn probes_of_every_kind_pass_and_a_failing_one_fails() {
    let Some(space) = Space::meshed() else { return };
    let probes = "          startupProbe: {tcpSocket: {port: 9090}, periodSeconds: 1}\n\
                  \x20         livenessProbe: {grpc: {port: 8080}, periodSeconds: 2}\n\
                  \x20         readinessProbe: {exec: {command: [/test-app, client, 'http://127.0.0.1:8080/ready']}, periodSeconds: 2}\n";
    let late = "          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}\n";

    space.deploy([Workload::new("probed").container(probes)]);
    space.apply(&Workload::new("late").args(&["serve", "-ready-after", "1h"]).container(late).yaml());
    space.eventually("the late pod runs", || {
        let pods = space.pods("late");
        let app = pods.first()?["status"]["containerStatuses"].as_array()?.first()?.clone();
        (app["started"] == true).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(3));

    let restarts = |app: &str| space.pods(app)[0]["status"]["containerStatuses"][0]["restartCount"].clone();
    let ready = |app: &str| space.pods(app)[0]["status"]["containerStatuses"][0]["ready"].clone();
    assert_eq!((restarts("probed"), ready("probed")), (0.into(), true.into()));
    assert_eq!((restarts("late"), ready("late")), (0.into(), false.into()), "the app itself says no");
}

#[test]
fn logs_exec_and_port_forward_mean_the_application() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);

    assert!(space.text(["logs", "deployment/web"]).contains("serves http"), "the application's log by default");
    // No -c: the default container.
    let text = space.text(["exec", "deployment/web", "--", "/test-app", "client", "http://127.0.0.1:8080/own"]);
    assert!(text.contains("/own"), "{text}");

    let mut forward = space.kubectl(["port-forward", "deployment/web", ":8080"]);
    let mut forward = forward.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(forward.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let port = line.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let answer = outrigger_tests::Client::connect(&port).and_then(|mut client| client.get("/forwarded"));
    forward.kill().unwrap();
    forward.wait().unwrap();
    assert_eq!(answer.unwrap_or_else(|error| panic!("{line}: {error}")).status, 200);
}

#[test]
fn init_containers_reach_services_through_the_mesh() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);
    let image = outrigger_tests::cluster::IMAGE;
    let init = format!(
        "      initContainers:\n        - name: fetch\n          image: {image}\n          imagePullPolicy: Never\n\
         \x20         args: [client, -retry-for, 20s, 'http://web/from-init']\n"
    );

    space.deploy([Workload::new("client").pod(&init)]);

    let said = space.text(["logs", "deployment/client", "-c", "fetch"]);
    assert!(said.contains("/from-init"), "{said}");
    let server = "http_server_request_duration_seconds_count";
    assert_eq!(space.metric("deployment/web", server, &["tls=\"mutual\""]), 1.0, "by mutual TLS");
}

#[test]
fn jobs_and_cron_jobs_complete() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);
    let template = |indent: &str| {
        let image = outrigger_tests::cluster::IMAGE;
        format!(
            "template:\n  metadata: {{labels: {{app: job}}}}\n  spec:\n    restartPolicy: Never\n    containers:\n\
             \x20     - {{name: app, image: '{image}', imagePullPolicy: Never, args: [job, -url, 'http://web/', -count, '3']}}\n"
        )
        .lines()
        .map(|line| format!("{indent}{line}\n"))
        .collect::<String>()
    };
    let yaml = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once}}\nspec:\n  backoffLimit: 0\n{}\
         ---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: often}}\nspec:\n  schedule: '* * * * *'\n  jobTemplate:\n    spec:\n      backoffLimit: 0\n{}",
        template("  "),
        template("      ")
    );

    space.apply(&yaml);
    space.text(["wait", "--for=condition=complete", "job/once", "--timeout=90s"]);
    let scheduled = space.eventually("the minute comes", || {
        let jobs = space.text(["get", "jobs", "-o", "name"]);
        jobs.lines().find(|job| job.starts_with("job.batch/often-")).map(str::to_owned)
    });
    space.text(["wait", "--for=condition=complete", &scheduled, "--timeout=90s"]);
    let requests = space.metric("deployment/web", "http_server_request_duration_seconds_count", &["tls=\"mutual\""]);
    assert!(requests >= 6.0, "{requests} requests by mutual TLS");
}

#[test]
fn a_service_to_a_pod_that_is_not_meshed_and_back_is_plaintext() {
    let Some(space) = Space::meshed() else { return };
    let bare = |name| Workload::new(name).labels("outrigger.io/inject: disabled");
    space.deploy([Workload::new("meshed"), bare("bare")]);
    let service = service("either", "  publishNotReadyAddresses: false\n").replace("app: either", "app: meshed");
    space.apply(&service);

    assert_eq!(space.seen("deployment/meshed", "http://bare/out")["path"], "/out");
    assert_eq!(space.seen("deployment/bare", "http://meshed/in")["path"], "/in");
    assert_eq!(space.seen("deployment/bare", "http://either/in")["path"], "/in");

    let count = |name| space.metric("deployment/meshed", name, &["tls=\"none\""]);
    assert_eq!(count("http_client_request_duration_seconds_count"), 1.0);
    assert_eq!(count("http_server_request_duration_seconds_count"), 2.0, "probes are not counted");
}
