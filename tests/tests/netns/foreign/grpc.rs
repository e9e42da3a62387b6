//! grpc-go's interoperability client and server: all four kinds of call, trailers, status, cancellation, deadlines.

use std::collections::BTreeSet;

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::grpc;
use outrigger_tests::wait::until_true;
use outrigger_tests::{Mesh, Pod, Process, yaml};

use super::{connections, enter_with, fails, parsed, serve, succeeds};

const GRPC: &str = "10.96.0.30";
const DECLARED: &str = "10.96.0.31";
const PORT: u16 = 10000;

/// A mesh in a sandbox.
fn mesh(yaml: &str) -> Option<Mesh> {
    let sandbox = enter_with([grpc::server(1), grpc::client("", 1, "")])?;
    Some(Mesh::start(sandbox, yaml))
}

fn server(mesh: &mut Mesh, name: &str, app: &str) -> (Pod, Process) {
    let pod = mesh.pod(name, app);
    let process = serve(mesh, &pod, PORT, grpc::server(PORT));
    (pod, process)
}

fn service(name: &str, address: &str) -> String {
    yaml::service(name, address, 80, PORT)
}

fn route(parent: &str, rules: &str) -> String {
    yaml::http_route("calls", parent, rules).replace("kind: HTTPRoute", "kind: GRPCRoute")
}

fn passes_every_case(from: &Namespace, host: &str, port: u16) {
    for case in grpc::CASES {
        succeeds(from, grpc::client(host, port, case));
    }
}

fn calls(pod: &Pod, side: &str, labels: &[&str]) -> f64 {
    pod.metric(&format!("rpc_{side}_call_duration_seconds_count"), labels)
}

/// The fewest calls that arrive of all cases: a call that is cancelled or over at once may not.
fn least() -> f64 {
    (grpc::CASES.len() - 2) as f64
}

/// The gRPC status codes in a sidecar's metrics.
fn statuses(pod: &Pod, side: &str) -> BTreeSet<String> {
    let page = pod.admin("/metrics").unwrap().text();
    let series = page.lines().filter(|line| line.starts_with(&format!("rpc_{side}_call_duration_seconds_count")));
    let status = |line: &str| Some(line.split_once("rpc_status_code=\"")?.1.split('"').next()?.to_owned());
    series.filter_map(status).collect()
}

#[test]
fn every_case_passes_through_a_meshed_pair() {
    let declared = yaml::service_with("declared", DECLARED, 80, PORT, "      appProtocol: grpc\n");
    let declared = declared.replace("app: declared", "app: grpc");
    let Some(mut mesh) = mesh(&(service("grpc", GRPC) + &declared)) else { return };
    let (pod, _server) = server(&mut mesh, "grpc-1", "grpc");
    let client = mesh.pod("client-1", "client");

    passes_every_case(&client, GRPC, 80);
    passes_every_case(&client, DECLARED, 80);
    passes_every_case(&client, &pod.ip().to_string(), PORT);

    for (pod, side) in [(&client, "client"), (&pod, "server")] {
        let all = calls(pod, side, &[]);
        assert!(all >= 3.0 * least(), "{all} calls");
        assert_eq!(calls(pod, side, &["tls=\"mutual\""]), all);
        assert_eq!(parsed(pod), all, "all were known for calls");
        let statuses = statuses(pod, side);
        for expected in ["OK", "UNKNOWN", "UNIMPLEMENTED"] {
            assert!(statuses.contains(expected), "{statuses:?}");
        }
    }
}

#[test]
fn every_case_passes_over_the_wire_form_that_http1_does_not_take() {
    let Some(mut mesh) = mesh(&service("grpc", GRPC)) else { return };
    let (_pod, _server) = server(&mut mesh, "grpc-1", "grpc");
    let client = mesh.pod_with("client-1", "client", "", &["--wire", "http2"]);

    passes_every_case(&client, GRPC, 80);
}

#[test]
fn every_case_passes_through_a_route_that_tells_calls_apart() {
    let rules = r#"    - matches: [{method: {service: grpc.testing.TestService, method: UnaryCall}, headers: [{name: x-grpc-test-echo-initial, value: test_initial_metadata_value}]}]
      backendRefs: [{name: metadata, port: 80}]
    - matches: [{method: {service: grpc.testing.TestService, method: FullDuplexCall}}]
      backendRefs: [{name: streams, port: 80}]
    - matches: [{method: {service: grpc.testing.TestService}}]
      backendRefs: [{name: rest, port: 80}]
"#;
    let services = [("grpc", GRPC), ("metadata", "10.96.0.32"), ("streams", "10.96.0.33"), ("rest", "10.96.0.34")];
    let yaml: String = services.iter().map(|(name, address)| service(name, address)).collect();
    let Some(mut mesh) = mesh(&(yaml + &route("grpc", rules))) else { return };
    let servers = ["metadata", "streams", "rest"].map(|name| server(&mut mesh, &format!("{name}-1"), name));
    let client = mesh.pod("client-1", "client");

    // `unimplemented_service` gets its answer from the sidecar here: no rule has that service.
    passes_every_case(&client, GRPC, 80);

    let [metadata, streams, rest] = servers.each_ref().map(|(pod, _)| calls(pod, "server", &[]));
    assert_eq!(metadata, 1.0, "the unary call of custom_metadata");
    // ping_pong, empty_stream, timeout_on_sleeping_server, cancel_after_first_response, status_code_and_message,
    // custom_metadata; a call whose deadline has passed on the way may not have arrived.
    assert!((5.0..=6.0).contains(&streams), "{streams} streams");
    assert!(rest >= 5.0, "{rest} others");
    assert_eq!(calls(&client, "client", &["route=\"GRPCRoute/shop/calls/0\""]), 1.0);
}

#[test]
fn every_case_passes_between_meshed_and_unmeshed() {
    let Some(mut mesh) = mesh("") else { return };
    let (pod, _server) = server(&mut mesh, "grpc-1", "grpc");
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");
    let _outside_server = serve(&mesh, &outside, PORT, grpc::server(PORT));

    passes_every_case(&outside, &pod.ip().to_string(), PORT);
    passes_every_case(&client, &outside.v4().to_string(), PORT);

    // A call that was given up is counted when the sidecar learns of it.
    until_true("the calls are counted", || calls(&pod, "server", &["tls=\"none\""]) >= least());
    // What is not part of the mesh is passed through as it is.
    assert_eq!(calls(&client, "client", &[]), 0.0);
    let all = || connections(&client, "outbound", "none") >= grpc::CASES.len() as f64;
    until_true("the connections are counted", all);
}

#[test]
fn a_call_that_cannot_be_made_ends_with_a_status_and_the_reason() {
    let rules = "    - matches: [{method: {service: shop.Cart}}]\n      backendRefs: [{name: empty, port: 80}]\n";
    let services = [("empty", "10.96.0.32"), ("silent", "10.96.0.33"), ("elsewhere", "10.96.0.34")];
    let yaml: String = services.iter().map(|(name, address)| service(name, address)).collect();
    let Some(mut mesh) = mesh(&(yaml + &service("grpc", GRPC) + &route("grpc", rules))) else { return };
    let silent = mesh.pod("silent-1", "silent");
    let bare = mesh.bare("elsewhere-1");
    mesh.write("elsewhere.yaml", &yaml::workload("elsewhere-1", "elsewhere", &bare.v4().to_string(), ""));
    let client = mesh.pod("client-1", "client");

    for (why, host, status, codes) in [
        ("a service without endpoints", "10.96.0.32", "Unavailable", ["E002", "E002 destination_unavailable"]),
        ("an app that does not listen", "10.96.0.33", "Unavailable", ["E009", "E003 connection_refused"]),
        ("a workload that is not there", "10.96.0.34", "Unavailable", ["E009", "E003 connection_refused"]),
        ("no rule for the call", GRPC, "Unimplemented", ["E001", "E001 destination_not_found"]),
    ] {
        let said = fails(&client, grpc::client(host, 80, "empty_unary"));
        let expected = format!("code = {status} desc = outrigger: {}", codes[0]);
        assert!(said.contains(&expected) && said.contains(codes[1]), "{why}: {said}");
    }
    // Addresses and identities are for meshed peers only.
    let said = fails(&bare, grpc::client(&silent.ip().to_string(), PORT, "empty_unary"));
    assert!(said.contains("code = Unavailable desc = outrigger: E003"), "{said}");
    assert!(!said.contains(&silent.ip().to_string()), "{said}");
}
