//! The status of routes, written by whichever replica holds the Lease.

use outrigger_tests::cluster::{Cluster, SYSTEM, Space, Workload, enter_alone};

use super::availability::{OneReplica, counts, replicas};
use crate::status::{programmed, split};

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

fn holder(cluster: &Cluster) -> String {
    let lease = cluster.json(["-n", SYSTEM, "get", "lease", "outrigger-status"]);
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}
