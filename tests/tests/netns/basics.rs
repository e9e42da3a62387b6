//! Two meshed pods, and what everything else stands on.

use outrigger_tests::{App, Mesh, enter, yaml};

#[test]
fn a_request_reaches_a_meshed_app_over_mutual_tls() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", "10.96.0.10", 80, 8080));
    let web = mesh.pod("web-1", "web");
    let _app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");

    let response = client.get("http://10.96.0.10/hello?a=b");

    assert_eq!((response.status, response.header("x-app")), (200, "web-1"), "{}", response.text());
    assert_eq!(response.json()["path"], "/hello?a=b");
    let config = client.config();
    assert_eq!(config["backends"][0]["endpoints"][0]["identity"], "spiffe://mesh.local/ns/shop/sa/web");
}
