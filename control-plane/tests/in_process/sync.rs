//! What a sidecar gets, and when.

use outrigger_proto::wire;
use outrigger_proto::wire::sync_request::Message as Request;

use super::client::{ControlPlane, SHOP, Sidecar};

const ROOTS: [&str; 3] = ["mesh", "workload/shop/web-1", "address/10.96.0.1:80"];

#[tokio::test]
async fn a_subscription_brings_all_that_it_leads_to_and_an_edit_only_what_changed() {
    let plane = ControlPlane::start().await;
    let own = plane.join("shop/web-1").await;
    let mut sidecar = Sidecar::connect(&plane, &own, &ROOTS).await;

    assert_eq!(sidecar.commit().await.unwrap(), 1);

    let keys: Vec<&str> = sidecar.held.keys().map(String::as_str).collect();
    let expected =
        ["address/10.96.0.1:80", "endpoints/shop/web/80/0", "mesh", "service/shop/web/80", "workload/shop/web-1"];
    assert_eq!(keys, expected);
    let endpoints: wire::Endpoints = sidecar.decode("endpoints/shop/web/80/0");
    assert_eq!(endpoints.endpoints[0].address, "127.0.0.1:8080");

    plane.objects.save("shop.yaml", &SHOP.replace("targetPort: 8080", "targetPort: 9090"));
    sidecar.commit().await.unwrap();

    assert_eq!(sidecar.changed, ["endpoints/shop/web/80/0", "workload/shop/web-1"]);
    let endpoints: wire::Endpoints = sidecar.decode("endpoints/shop/web/80/0");
    assert_eq!(endpoints.endpoints[0].address, "127.0.0.1:9090");
}
