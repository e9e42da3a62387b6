//! `outrigger check`, `uninstall` and `install`.

use std::collections::BTreeSet;

use outrigger_tests::cluster::{Cluster, PATIENCE, SYSTEM, Space, Workload, enter_alone};

/// Every object in the cluster, by kind and name; what comes and goes by itself is left out.
fn objects(cluster: &Cluster) -> BTreeSet<String> {
    let kinds = cluster.text(["api-resources", "--verbs=list", "-o", "name"]);
    let mut all = BTreeSet::new();
    for kind in kinds.lines().filter(|kind| !PASSING.iter().any(|passing| kind.starts_with(passing))) {
        let names = cluster.text([
            "get",
            kind,
            "-A",
            "-o",
            "custom-columns=NS:.metadata.namespace,NAME:.metadata.name",
            "--no-headers",
        ]);
        all.extend(
            names.lines().map(|name| format!("{kind} {}", name.split_whitespace().collect::<Vec<_>>().join("/"))),
        );
    }
    all
}

#[test]
fn check_says_yes_and_names_a_pod_that_came_before_the_label() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let space = Space::within(cluster, &alone);
    space.label("outrigger.io/inject-");
    space.deploy([Workload::new("early")]);
    space.label("outrigger.io/inject=enabled");

    let output = cluster.outrigger(["check"]).output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("early") && said.contains("rollout restart"), "{said}");
}

#[test]
fn uninstall_refuses_while_pods_are_meshed_and_then_leaves_nothing() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let space = Space::within(cluster, &alone);
    space.deploy([Workload::new("web")]);
    let refused = cluster.outrigger(["uninstall"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(space.name()), "it names what is meshed: {said}");
    cluster.run(["delete", "namespace", space.name(), "--wait"]);

    // Other tests' namespaces may be on their way out still: force takes it off anyway.
    let _again = Again(cluster);
    let removed = cluster.outrigger(["uninstall", "--force"]).output().unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    let left = |objects: &BTreeSet<String>| {
        objects
            .iter()
            .filter(|object| object.contains("outrigger") && !object.contains("-test-"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let start = std::time::Instant::now();
    let mut bare = objects(cluster);
    while !left(&bare).is_empty() && start.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_secs(1));
        bare = objects(cluster);
    }
    assert_eq!(left(&bare), Vec::<String>::new());

    cluster.install();
    let added: Vec<String> = objects(cluster).difference(&bare).cloned().collect();
    assert!(added.iter().any(|object| object.contains("mutatingwebhookconfigurations")), "{added:?}");
    let strangers: Vec<_> =
        added.iter().filter(|object| !object.contains("outrigger") && !object.contains("test-")).collect();
    assert_eq!(strangers, Vec::<&String>::new(), "everything of ours is called so");
}

#[test]
fn values_that_cannot_run_are_refused_or_forgotten() {
    let Some((cluster, _alone)) = enter_alone() else { return };
    let record = || cluster.json(["-n", SYSTEM, "get", "configmap", "outrigger-install"])["data"].clone();
    let before = record();
    let _restored = Restored(cluster);

    let refused = cluster.outrigger(["upgrade", "--set", "leafLifetime=1s"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("leafLifetime"), "{said}");
    assert_eq!(record(), before);

    let failed =
        cluster.outrigger(["upgrade", "--set", "image.tag=no-such-version", "--timeout", "10s"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(3), "{}", String::from_utf8_lossy(&failed.stderr));
    assert_eq!(record(), before, "what did not run is not recorded");

    let next = cluster.outrigger(["upgrade"]).output().unwrap();
    assert_eq!(next.status.code(), Some(0), "{}", String::from_utf8_lossy(&next.stderr));
    let images = "jsonpath={.items[*].spec.template.spec.containers[*].image}";
    let images = cluster.text(["-n", SYSTEM, "get", "deployments", "-o", images]);
    assert!(!images.contains("no-such-version"), "{images}");
}

/// Installs the mesh again for the tests that follow, also when this one fails.
pub(crate) struct Again(pub(crate) &'static Cluster);

impl Drop for Again {
    fn drop(&mut self) {
        self.0.install();
    }
}

/// Puts the mesh back in order, also when the test fails.
struct Restored(&'static Cluster);

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = self.0.outrigger(["upgrade"]).output();
    }
}

/// Kinds whose objects Kubernetes makes and removes by itself.
const PASSING: [&str; 9] =
    ["events", "endpoint", "leases", "pods", "replicasets", "componentstatuses", "nodes", "csinodes", "ipaddresses"];
