//! The status of routes: what was accepted, and what is in force where.

use outrigger_tests::cluster::{Cluster, SYSTEM, Space, Workload, enter_alone, service};
use serde_json::Value;

use super::availability::{OneReplica, counts, replicas};

#[test]
fn a_route_is_programmed_when_the_sidecars_of_all_replicas_have_it() {
    let Some((cluster, alone)) = enter_alone() else { return };
    cluster.with_routes();
    let _after = OneReplica(cluster);
    let upgraded = cluster.outrigger(["upgrade", "--set", "ha=true"]).output().unwrap();
    assert!(upgraded.status.success(), "{}", String::from_utf8_lossy(&upgraded.stderr));
    let space = Space::within(cluster, &alone);
    space.deploy([Workload::new("web"), Workload::new("client").replicas(6)]);
    let clients = space.pods("client");
    for pod in clients.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
        let _ = space.seen(&format!("pod/{pod}"), "http://web/");
    }
    space.eventually("sidecars of more than one replica", || {
        let counts = counts(cluster, "outrigger_control_sidecars")?;
        (counts.iter().sum::<u64>() == 7 && counts.iter().filter(|count| **count > 0).count() > 1).then_some(())
    });

    space.apply(&split(100, 0));
    let told = programmed(&space, "1");
    assert_eq!(told["message"], "6 of 6 subscribed sidecars have it in force");

    // The next writer knows what the one before has written, and learns of what comes then.
    let holder = holder(cluster);
    assert!(replicas(cluster).contains(&holder), "{holder} holds the Lease");
    let version = || space.json(["get", "httproute", "web"])["metadata"]["resourceVersion"].clone();
    let before = version();
    cluster.run(["-n", SYSTEM, "delete", "pod", &holder, "--wait"]);
    space.eventually("another one holds the Lease", || Some(self::holder(cluster)).filter(|now| *now != holder));
    space.eventually("all sidecars are back", || {
        (counts(cluster, "outrigger_control_sidecars")?.iter().sum::<u64>() == 7).then_some(())
    });
    assert_eq!(version(), before, "what did not change is not written");
    space.apply(&split(0, 100));
    let told = programmed(&space, "2");
    assert_eq!(told["message"], "6 of 6 subscribed sidecars have it in force");
}

#[test]
fn apply_waits_until_a_route_is_in_force_and_says_why_it_is_not() {
    let Some(space) = Space::meshed() else { return };
    space.cluster().with_routes();
    space.apply(&(service("web", "") + &service("none", "  clusterIP: None\n")));
    let route = |name: &str, parent: &str, backend: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: {parent}}}]\n  rules: [{{backendRefs: [{{name: {backend}, port: 80}}]}}]\n"
        )
    };
    let other = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";
    for (name, parent, backend, exit, says) in [
        ("fine", "web", "web", 0, "httproute/fine at service/web: in force after "),
        ("lost", "nowhere", "web", 1, "refused after "),
        ("dangling", "web", "nowhere", 1, "BackendNotFound"),
        ("headless", "none", "web", 1, "UnsupportedValue: Service "),
    ] {
        let file = std::env::temp_dir().join(format!("{}-{name}.yaml", space.name()));
        std::fs::write(&file, route(name, parent, backend) + other).unwrap();
        let mut command = space.cluster().outrigger(["apply", "--wait", "-n", space.name(), "-f"]);
        let output = command.arg(&file).output().unwrap();
        std::fs::remove_file(&file).unwrap();

        let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{name}: {said}\n{warned}");
        assert!(said.contains(says), "{name}: {said}");
        assert!(warned.contains("left alone: ConfigMap other"), "{name}: {warned}");
    }
}

/// The condition `Programmed` of the route `web`, once it is true of this generation.
fn programmed(space: &Space, generation: &str) -> Value {
    let condition = r#"{.status.parents[?(@.controllerName=="outrigger.io/mesh")].conditions[?(@.type=="Programmed")]"#;
    for (field, value) in [("observedGeneration", generation), ("status", "True")] {
        let path = format!("--for=jsonpath={condition}.{field}}}={value}");
        let waited = space.kubectl(["wait", "httproute/web", &path, "--timeout=60s"]).output().unwrap();
        let route = space.text(["get", "httproute", "web", "-o", "yaml"]);
        assert!(waited.status.success(), "{path}: {}\n{route}", String::from_utf8_lossy(&waited.stderr));
    }
    let route = space.json(["get", "httproute", "web"]);
    let conditions = route["status"]["parents"][0]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Programmed").unwrap().clone()
}

fn split(first: u32, second: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, name: web}}]\n  rules:\n  - backendRefs:\n    \
         - {{name: web, port: 80, weight: {first}}}\n    - {{name: web, port: 80, weight: {second}}}\n"
    )
}

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.json(["-n", SYSTEM, "get", "lease", "outrigger-status"]);
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}
