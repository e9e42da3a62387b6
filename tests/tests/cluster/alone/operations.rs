//! What happens to running traffic while the mesh itself changes. Each test has the cluster to itself.

use outrigger_tests::cluster::{SYSTEM, Space, Workload, enter_alone};

#[test]
fn a_rolling_restart_of_the_mesh_costs_no_request_and_no_admission() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let space = Space::within(cluster, &alone);
    space.deploy([Workload::new("web").replicas(2), Workload::new("client")]);
    let load = space.load("deployment/client", "http://web/", 100, 45);

    for part in ["deployment/outrigger-control-plane", "deployment/outrigger-injector"] {
        cluster.run(["-n", SYSTEM, "rollout", "restart", part]);
    }
    // Admissions all the while: each must be answered, and each pod be meshed.
    for n in 0..10 {
        let name = format!("extra-{n}");
        space.apply(&Workload::new(&name).yaml());
        assert!(crate::injection::meshed(&space, &name).iter().all(|meshed| *meshed), "{name} came without a sidecar");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    for part in ["deployment/outrigger-control-plane", "deployment/outrigger-injector"] {
        cluster.rolled_out(SYSTEM, part);
    }

    load.lost_nothing(3000);
    assert_eq!(space.seen("deployment/client", "http://web/after")["path"], "/after");
}

#[test]
fn a_control_plane_that_is_gone_changes_nothing_for_running_traffic() {
    let Some((cluster, alone)) = enter_alone() else { return };
    let space = Space::within(cluster, &alone);
    space.deploy([Workload::new("web").replicas(2), Workload::new("client")]);
    assert_eq!(space.seen("deployment/client", "http://web/before")["path"], "/before");
    let replicas =
        cluster.json(["-n", SYSTEM, "get", "deployment", "outrigger-control-plane"])["spec"]["replicas"].to_string();
    cluster.run(["-n", SYSTEM, "scale", "deployment/outrigger-control-plane", "--replicas=0"]);
    space.eventually("the control plane is gone", || {
        let pods = cluster.text(["-n", SYSTEM, "get", "pods", "-o", "name"]);
        (!pods.contains("control-plane")).then_some(())
    });

    space.load("deployment/client", "http://web/", 100, 10).lost_nothing(900);

    cluster.run(["-n", SYSTEM, "scale", "deployment/outrigger-control-plane", &format!("--replicas={replicas}")]);
    cluster.rolled_out(SYSTEM, "deployment/outrigger-control-plane");
    // It serves what has changed since: the endpoints of a Deployment that was scaled.
    space.text(["scale", "deployment/web", "--replicas=3"]);
    space.rolled_out("deployment/web");
    // A sidecar that has tried in vain for a while tries less often.
    space.eventually("the client's sidecar is connected again", || {
        (space.metric("deployment/client", "outrigger_control_connected", &[]) == 1.0).then_some(())
    });
    let outcome = space.load("deployment/client", "http://web/", 50, 5).outcome();
    assert_eq!(outcome["pods"].as_object().map(serde_json::Map::len), Some(3), "{outcome:#}");
}
