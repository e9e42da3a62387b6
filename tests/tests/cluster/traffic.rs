//! Traffic of every kind, and where it goes.

use std::process::Command;

use outrigger_tests::cluster::{Space, Workload, service, succeeds};

#[test]
fn no_plaintext_is_on_the_pod_network() {
    let Some(space) = Space::meshed() else { return };
    let Some(netns) = std::env::var_os("OUTRIGGER_CLUSTER_NETNS") else {
        eprintln!("SKIPPED: the node's network is out of reach; OUTRIGGER_CLUSTER_NETNS names its namespace");
        return;
    };
    space.deploy([Workload::new("web"), Workload::new("client").replicas(1)]);
    let web = space.pods("web")[0]["status"]["podIP"].as_str().unwrap().to_owned();
    let file = std::env::temp_dir().join(format!("outrigger-{}.pcap", space.name()));
    let mut dump = Command::new("ip");
    dump.args(["netns", "exec"]).arg(netns).args(["tcpdump", "--immediate-mode", "-U", "-i", "any", "-s", "0", "-w"]);
    let mut dump = dump.arg(&file).args(["host", &web]).stderr(std::process::Stdio::null()).spawn().unwrap();
    outrigger_tests::wait::until_true("tcpdump writes", || file.exists());

    let secret = "a-secret-of-the-path";
    let _ = space.seen("deployment/client", &format!("http://web/{secret}"));
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled");
    space.deploy([bare]);
    let _ = space.seen("deployment/bare", "http://web/told-to-everybody");

    std::thread::sleep(std::time::Duration::from_millis(500));
    let _ = succeeds(Command::new("kill").arg(dump.id().to_string()));
    dump.wait().unwrap();
    let seen = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let holds = |text: &str| seen.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("told-to-everybody"), "the capture sees what is not encrypted");
    assert!(!holds(secret), "a request between meshed pods was readable");
}

#[test]
fn a_pod_dials_itself_through_its_service_and_by_its_address() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);
    let address = space.pods("web")[0]["status"]["podIP"].as_str().unwrap().to_owned();

    assert_eq!(space.seen("deployment/web", "http://web/itself")["path"], "/itself");
    assert_eq!(space.seen("deployment/web", &format!("http://{address}:8080/itself"))["path"], "/itself");
}

#[test]
fn members_of_a_stateful_set_find_each_other_by_name() {
    let Some(space) = Space::meshed() else { return };
    let headless = service("peer", "  clusterIP: None\n  publishNotReadyAddresses: true\n");
    let members = Workload::new("peer").kind("StatefulSet").replicas(3);
    space.apply(&(headless + &members.yaml()));
    space.rolled_out("statefulset/peer");

    for from in 0..3 {
        for to in 0..3 {
            let seen = space.seen(&format!("pod/peer-{from}"), &format!("http://peer-{to}.peer:8080/hello"));
            assert_eq!(seen["pod"], format!("peer-{to}"), "{seen:#}");
        }
    }
    // Between two pods by mutual TLS; a pod's own address never leaves it.
    let mutual = space.metric("pod/peer-0", "http_client_request_duration_seconds_count", &["tls=\"mutual\""]);
    assert_eq!(mutual, 2.0);
}

#[test]
fn tcp_of_every_manner_passes() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), Workload::new("client")]);
    let at = |port: &str| format!("web:{port}");

    let echoed = space.exec("deployment/client", ["tcp", "-send", "hello over tcp", &at("9090")]);
    assert!(echoed.contains("hello over tcp"), "{echoed}");
    let greeted = space.exec("deployment/client", ["tcp", &at("9091")]);
    assert!(greeted.contains("220 "), "a server that speaks first: {greeted}");
    let mutual = space.metric("deployment/web", "outrigger_inbound_tcp_connections_total", &["tls=\"mutual\""]);
    assert!(mutual >= 2.0, "{mutual} by mutual TLS");
}

#[test]
fn http2_and_large_bodies_pass() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), Workload::new("client")]);

    let answer = space.exec("deployment/client", ["client", "-http2", "http://web/two"]);
    assert!(answer.contains(r#""proto":"HTTP/2.0""#) && answer.contains("HTTP/2.0"), "{answer}");
    let large = space.exec("deployment/client", ["client", "http://web/?size=3000000"]);
    assert!(large.len() > 3_000_000, "{} bytes", large.len());
}

#[test]
fn a_node_port_leads_into_a_meshed_pod() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web")]);
    space.apply(&service("web", "  type: NodePort\n"));
    let ports = space.json(["get", "service", "web"]);
    let port = ports["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let node = space.cluster().json(["get", "nodes"]);
    let addresses = node["items"][0]["status"]["addresses"].as_array().unwrap().clone();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap()["address"].clone();
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled");
    space.deploy([bare]);

    let seen = space.seen("deployment/bare", &format!("http://{}:{port}/port", internal.as_str().unwrap()));

    assert_eq!(seen["path"], "/port");
}

#[test]
fn names_outside_of_the_mesh_and_services_that_are_only_names_pass() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("client"), Workload::new("web")]);
    let target = format!("web.{}.svc.cluster.local", space.name());
    space.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: alias}}\nspec: {{type: ExternalName, externalName: {target}}}\n"
    ));

    assert_eq!(space.seen("deployment/client", "http://alias/by-name")["path"], "/by-name");
    // The API server is on the node: outside of the mesh, and TLS of its own.
    let command = ["client", "https://kubernetes.default.svc/version"];
    let output = space.exec_command("deployment/client", command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("x509") || output.status.success(), "the API server's own certificate is seen: {said}");
}

#[test]
fn a_service_for_its_own_node_only_is_reached_there() {
    let Some(space) = Space::meshed() else { return };
    let agent = Workload::new("agent").kind("DaemonSet");
    space.apply(&(agent.yaml() + &service("agent", "  internalTrafficPolicy: Local\n")));
    space.rolled_out("daemonset/agent");
    space.deploy([Workload::new("client")]);

    assert_eq!(space.seen("deployment/client", "http://agent/local")["path"], "/local");
    let mutual = space.metric("deployment/client", "http_client_request_duration_seconds_count", &["tls=\"mutual\""]);
    assert_eq!(mutual, 1.0);
}
