//! Services of every type. `cargo xtask test` runs this file with kube-proxy in each of its modes.

use outrigger_tests::Client;
use outrigger_tests::cluster::{Space, Workload, service};
use serde_json::Value;

#[test]
fn services_lead_to_every_pod_with_a_sidecar_and_without() {
    let Some(space) = Space::meshed() else { return };
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled").replicas(2);
    space.deploy([Workload::new("web").replicas(2), bare]);
    let both = "  ipFamilyPolicy: PreferDualStack\n";
    space.apply(&(service("web", both) + &service("bare", both)));
    let alias = format!("bare.{}.svc.cluster.local", space.name());
    space.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: alias}}\nspec: {{type: ExternalName, externalName: {alias}}}\n\
         ---\n{}",
        service("web", "  clusterIP: None\n").replace("name: web}", "name: headless}")
    ));

    for (from, to) in [("web", "bare"), ("bare", "web"), ("web", "web"), ("bare", "bare")] {
        let addresses = space.json(["get", "service", to])["spec"]["clusterIPs"].as_array().unwrap().clone();
        let addresses = addresses.iter().map(|address| match address.as_str().unwrap() {
            v6 if v6.contains(':') => format!("[{v6}]"),
            v4 => v4.to_owned(),
        });
        // A pod of the Service among those that ask it: one answer in two is its own.
        for host in addresses.chain([to.to_owned()]) {
            reaches_both(&space, from, &format!("http://{host}/"));
        }
    }
    reaches_both(&space, "web", "http://alias/");
    // Without an address of the Service's own, a client takes whichever pod's it likes.
    for from in ["deployment/web", "deployment/bare"] {
        assert_eq!(space.seen(from, "http://headless:8080/pod")["path"], "/pod");
    }
    assert!(space.metric("deployment/web", "http_client_request_duration_seconds_count", &["tls=\"mutual\""]) > 0.0);
}

#[test]
fn a_node_port_leads_into_meshed_pods_from_pods_and_from_beside_the_node() {
    let Some(space) = Space::meshed() else { return };
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled");
    space.deploy([Workload::new("web"), Workload::new("client"), bare]);
    space.apply(&service("web", "  type: NodePort\n"));
    let local = "  type: NodePort\n  externalTrafficPolicy: Local\n";
    space.apply(&service("web", local).replace("name: web}", "name: local}"));
    let nodes = space.cluster().json(["get", "nodes"]);
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap().clone();
    let node = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap()["address"].clone();

    for name in ["web", "local"] {
        let port = &space.json(["get", "service", name])["spec"]["ports"][0]["nodePort"];
        let address = format!("{}:{port}", node.as_str().unwrap());
        for from in ["deployment/client", "deployment/bare"] {
            assert_eq!(space.seen(from, &format!("http://{address}/port"))["path"], "/port");
        }
        // Only our own cluster's node is known to be within reach.
        if std::env::var_os("OUTRIGGER_CLUSTER_NETNS").is_some() {
            let answer = space.eventually("the port answers", || Client::connect(&address).ok()?.get("/outside").ok());
            let seen: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((answer.status, &seen["path"]), (200, &"/outside".into()));
        }
    }
}

#[test]
fn a_client_keeps_its_pod_where_the_service_asks_for_that() {
    let Some(space) = Space::meshed() else { return };
    let bare = Workload::new("bare").labels("outrigger.io/inject: disabled");
    space.deploy([Workload::new("web").replicas(3), Workload::new("client"), bare]);
    let pods = |from: &str| -> std::collections::BTreeSet<String> {
        let args = ["load", "-fresh", "-connections", "4", "-rate", "100", "-duration", "400ms", "-url", "http://web/"];
        let outcome: Value = serde_json::from_str(&space.exec(&format!("deployment/{from}"), args)).unwrap();
        outcome["pods"].as_object().unwrap().keys().cloned().collect()
    };
    assert!(pods("client").len() > 1, "without affinity several answer");

    space.apply(&service("web", "  sessionAffinity: ClientIP\n"));

    for from in ["bare", "client"] {
        let kept = space.eventually(&format!("{from} keeps a pod"), || {
            let pods = pods(from);
            (pods.len() == 1).then_some(pods)
        });
        for _ in 0..3 {
            assert_eq!(pods(from), kept, "{from}");
        }
    }
}

/// Each of two pods answers, and nothing fails.
fn reaches_both(space: &Space, from: &str, url: &str) {
    // The first may come before the rules of the Service.
    let _ = space.seen(&format!("deployment/{from}"), url);
    let pods = space.eventually(&format!("two pods answer {from} at {url}"), || {
        let args = ["load", "-fresh", "-connections", "1", "-rate", "100", "-duration", "400ms", "-url", url];
        let outcome: Value = serde_json::from_str(&space.exec(&format!("deployment/{from}"), args)).unwrap();
        (outcome["pods"].as_object()?.len() == 2).then(|| outcome["pods"].clone())
    });
    let app = |pod: &String| pod.rsplitn(3, '-').nth(2).unwrap_or_default().to_owned();
    let apps: std::collections::BTreeSet<String> = pods.as_object().unwrap().keys().map(app).collect();
    assert_eq!(apps.len(), 1, "pods of one Deployment: {pods}");
}
