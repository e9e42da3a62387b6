//! What a sidecar leaves alone: names, and addresses outside of the cluster.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use outrigger_tests::cluster::{Space, Workload};

#[test]
fn names_mean_the_same_with_a_sidecar_and_without() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), Workload::new("client"), Workload::new("bare").labels(UNMESHED)]);
    let captured = || space.metric("deployment/client", "outrigger_outbound_tcp_connections_total", &[]);
    let before = captured();

    for name in
        ["web", "web.kube-system", "kube-dns.kube-system", "kubernetes.default.svc.cluster.local", "nowhere.test"]
    {
        let asked = |from: &str, args: &[&str]| {
            let mut command = space.exec_command(from, ["resolve"]);
            String::from_utf8(command.args(args).arg(name).output().unwrap().stdout).unwrap()
        };
        let bare = asked("deployment/bare", &[]);
        assert!(bare.contains("addresses"), "{name}: {bare}");
        assert_eq!(asked("deployment/client", &[]), bare, "{name} over UDP");
        assert_eq!(asked("deployment/client", &["-tcp"]), bare, "{name} over TCP");
    }
    assert!(captured() > before, "over TCP the sidecar carries it");
}

#[test]
fn an_address_outside_of_the_cluster_is_reached_as_it_is() {
    let Some(space) = Space::meshed() else { return };
    if std::env::var_os("OUTRIGGER_CLUSTER_NETNS").is_none() {
        eprintln!("SKIPPED: only our own cluster is known to reach this machine");
        return;
    }
    space.deploy([Workload::new("client")]);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\noutside").unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });

    let answer = space.get("deployment/client", &format!("http://outside.test:{port}/hello"));

    assert_eq!((&answer["status"], &answer["body"]), (&200.into(), &"outside".into()), "{answer:#}");
    let request = server.join().unwrap();
    assert!(request.starts_with("GET /hello HTTP/1.1\r\n"), "in plaintext, as it was written: {request}");
    let plain = space.metric("deployment/client", "outrigger_outbound_tcp_connections_total", &["tls=\"none\""]);
    assert!(plain >= 1.0, "the sidecar carried it, and did not look inside");
}

const UNMESHED: &str = "outrigger.io/inject: disabled";
