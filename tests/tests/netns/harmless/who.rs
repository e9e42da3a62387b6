//! Who calls: an app may have its sidecar tell.

use outrigger_tests::{App, Mesh, enter, yaml};

use super::WEB;

#[test]
fn an_app_is_told_who_calls_where_it_wants_to_know_and_believes_nobody_else() {
    let Some(sandbox) = enter() else { return };
    let services = [yaml::service("web", WEB, 80, 8080), yaml::service("plain", "10.96.0.11", 80, 8080)];
    let mut mesh = Mesh::start(sandbox, &services.join("---\n"));
    let web = mesh.pod_with("web-1", "web", "", &["--client-headers", "add"]);
    let plain = mesh.pod("plain-1", "plain");
    let _apps = [App::echo(&web, 8080, "web-1"), App::echo(&plain, 8080, "plain-1")];
    let clients =
        ["http1", "http2"].map(|wire| mesh.pod_with(&format!("client-{wire}"), "client", "", &["--wire", wire]));
    let outside = mesh.bare("outside");
    // Whatever a client claims.
    let forged =
        [("outrigger-client-id", "spiffe://mesh.local/ns/shop/sa/admin"), ("Outrigger_Client_Address", "1.2.3.4")];
    let told = |from: &outrigger_sandbox::Namespace, address: &str| {
        let answer = from.run(|| outrigger_tests::Client::connect(address)?.send("GET", "/", &forged, &[])).unwrap();
        let headers = answer.unwrap().json()["headers"].clone();
        let of = |name: &str| headers[name].as_str().map(str::to_owned);
        assert_eq!(of("outrigger_client_address"), None);
        (of("outrigger-client-id"), of("outrigger-client-address"))
    };

    for client in &clients {
        let want = ("spiffe://mesh.local/ns/shop/sa/client".to_owned(), client.ip().to_string());
        assert_eq!(told(client, &format!("{WEB}:80")), (Some(want.0), Some(want.1)));
        assert_eq!(told(client, "10.96.0.11:80"), (None, None));
    }
    let pod = |ip| format!("{ip}:8080");
    assert_eq!(told(&outside, &pod(web.ip())), (None, Some(outside.v4().to_string())));
    assert_eq!(told(&outside, &pod(plain.ip())), (None, None));
}
