//! Changes of workloads under load, with no failed request.

use outrigger_tests::cluster::{Space, Workload};

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web").replicas(3), Workload::new("client")]);
    let load = space.load("deployment/client", "http://web/", 300, 40);
    std::thread::sleep(std::time::Duration::from_secs(2));

    space.restart("deployment/web");

    load.lost_nothing(6000);
}

#[test]
fn scaling_from_one_to_eight_and_back_under_load_loses_nothing() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), Workload::new("client")]);
    let load = space.load("deployment/client", "http://web/", 100, 60);

    space.text(["scale", "deployment/web", "--replicas=8"]);
    space.rolled_out("deployment/web");
    std::thread::sleep(std::time::Duration::from_secs(3));
    space.text(["scale", "deployment/web", "--replicas=1"]);

    let outcome = load.outcome();
    assert_eq!(outcome["failed"], 0, "{outcome:#}");
    assert!(outcome["pods"].as_object().is_some_and(|pods| pods.len() == 8), "each pod served: {outcome:#}");
}

#[test]
fn a_deleted_pod_finishes_the_long_request_it_has() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), Workload::new("client")]);
    let mut long = space.exec_command("deployment/client", ["client", "http://web/?stream=12s"]);
    let long = long.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));

    space.text(["delete", "pod", "-l", "app=web", "--wait=false"]);

    let output = long.wait_with_output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["body"].as_str().unwrap().ends_with("end\n"), "{answer:#}");
    space.rolled_out("deployment/web");
}
