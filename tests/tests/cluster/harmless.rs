//! What is the same in a pod with a sidecar as without one, and what people are told where it cannot be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use outrigger_tests::cluster::{Space, Workload};

/// A workload that the mesh leaves alone.
fn bare(name: &str) -> Workload<'_> {
    Workload::new(name).labels("outrigger.io/inject: disabled")
}

#[test]
fn a_client_that_ends_its_side_at_once_hears_a_server_that_speaks_first() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web"), bare("plain"), Workload::new("client"), bare("outside")]);

    for to in ["web", "plain"] {
        let address = format!("{to}:9091");
        let heard = ["client", "outside"].map(|from| {
            let from = format!("deployment/{from}");
            // The first may come before the rules of the Service.
            space.eventually(&format!("{from} reaches {to}"), || {
                let output = space.exec_command(&from, ["tcp", "-ended", &address]).output().unwrap();
                output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
            })
        });
        assert_eq!(heard[0], heard[1], "both hear the same from {to}");
        assert!(heard[0].starts_with(&format!("220 {to}")), "{heard:?}");
    }
}

#[test]
fn settings_that_could_not_run_do_not_keep_a_pod_from_running() {
    let Some(space) = Space::meshed() else { return };
    let bad = "config.outrigger.io/log-filter: foo=bar=baz, config.outrigger.io/memory-limit: 1Mi, config.outrigger.io/memory-request: 1Gi";

    space.deploy([Workload::new("web").annotations(bad)]);

    assert_eq!(crate::injection::meshed(&space, "web"), [true]);
    let pod = space.pods("web").remove(0);
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    let sidecar = containers.iter().find(|container| container["name"] == "outrigger-sidecar").unwrap();
    assert_ne!(sidecar["resources"]["limits"]["memory"], "1Mi");
    let said = String::from_utf8_lossy(
        &space
            .cluster()
            .applied(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: told, namespace: {}, annotations: {{{bad}}}}}\n\
             spec: {{containers: [{{name: app, image: {}, imagePullPolicy: Never}}]}}\n",
                space.name(),
                outrigger_tests::cluster::IMAGE
            ))
            .stderr,
    )
    .into_owned();
    for annotation in ["log-filter", "memory-limit"] {
        assert!(said.contains(&format!("config.outrigger.io/{annotation}")), "{annotation}: {said}");
    }
}

#[test]
fn a_pod_that_ends_is_not_called_unhealthy_and_ends_as_soon_as_one_without_a_sidecar() {
    let Some(space) = Space::meshed() else { return };
    space.deploy([Workload::new("web").replicas(3), bare("plain").replicas(3)]);
    let first: BTreeSet<String> = names(&space);
    let took = ["plain", "web"].map(|app| {
        let start = Instant::now();
        let selector = format!("app={app}");
        let deleted = space.kubectl(["delete", "pods", "-l", &selector, "--wait=true", "--timeout=90s"]).output();
        assert!(deleted.unwrap().status.success());
        space.rolled_out(&format!("deployment/{app}"));
        start.elapsed()
    });
    eprintln!("three pods were deleted and replaced in {:?}, and with sidecars in {:?}", took[0], took[1]);
    // Far from what a grace period would take; what is left is the start of the new ones.
    assert!(took[1] < took[0] + Duration::from_secs(15), "{took:?}");

    let gone = names(&space);
    assert!(first.is_disjoint(&gone), "{first:?}");
    let events = space.json(["get", "events"]);
    let of_sidecars = events["items"].as_array().unwrap().iter().filter(|event| {
        let about = &event["involvedObject"];
        event["reason"] == "Unhealthy"
            && first.contains(about["name"].as_str().unwrap_or_default())
            && about["fieldPath"].as_str().unwrap_or_default().contains("outrigger-sidecar")
            // A probe may also meet the moment in which a container has just ended, and is refused: any container may have that.
            && event["message"].as_str().unwrap_or_default().contains("503")
    });
    let messages: Vec<_> = of_sidecars.map(|event| event["message"].clone()).collect();
    assert!(messages.is_empty(), "{messages:?}");
}

fn names(space: &Space) -> BTreeSet<String> {
    space.pods("web").iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// What `outrigger check -n NAMESPACE` prints, and its exit code.
fn checked(space: &Space, namespace: &str) -> (String, Option<i32>) {
    let output = space.cluster().outrigger(["check", "-n", namespace]).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn check_names_what_keeps_pods_of_a_namespace_from_being_meshed() {
    let Some(space) = Space::plain() else { return };

    let (said, code) = checked(&space, "no-such-namespace");
    assert!(said.contains("OC030") && code != Some(0), "{said}");

    // Words that have no effect.
    space.label("outrigger.io/injection=enabled");
    space.deploy([Workload::new("typo").labels("outrigger.io/inject: 'true'")]);
    let (said, _) = checked(&space, space.name());
    assert!(said.contains("OC035") && said.contains("outrigger.io/injection") && said.contains("typo"), "{said}");
    space.label("outrigger.io/injection-");

    // A quota in which the application fits and the sidecar does not.
    space.label("outrigger.io/inject=enabled");
    space.apply(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: small}\nspec: {hard: {limits.memory: 70Mi}}\n---\n\
         apiVersion: v1\nkind: LimitRange\nmetadata: {name: default}\nspec: {limits: [{type: Container, default: {memory: 64Mi}}]}\n",
    );
    space.apply(&Workload::new("refused").yaml());
    space.eventually("check says who refuses the pod", || {
        let (said, _) = checked(&space, space.name());
        assert!(
            !said.contains("OC053"),
            "a namespace that refuses pods by its own rules is no fault of the injector: {said}"
        );
        (said.contains("OC038") && said.contains("refused") && said.contains("quota")).then_some(())
    });
}
