use super::*;

pub(crate) fn settings() -> Settings {
    Settings {
        image: "outrigger/sidecar:test".into(),
        pull_policy: Some("Never".into()),
        control_plane: "outrigger-control-plane.outrigger-system.svc:4180".into(),
        trust_domain: "mesh.local".into(),
        trust_anchors: "-----BEGIN CERTIFICATE-----\n".into(),
        otlp: None,
        metrics: MetricsFrom::default(),
    }
}

fn injected(pod: &Value) -> Injected {
    match inject(pod, &settings(), &ProbeSecret::fixed("s3cret")) {
        Outcome::Injected(injected) => *injected,
        Outcome::Skipped(skip) => panic!("{skip}: {pod:#}"),
    }
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": spec})
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

#[test]
fn the_capture_and_the_sidecar_come_before_all_else() {
    let pod = pod(json!({
        "initContainers": [{"name": "migrate"}],
        "containers": [{"name": "app"}, {"name": "logs"}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }));

    let Injected { pod: patched, warnings } = injected(&pod);

    assert_eq!(names(&patched["spec"]["initContainers"]), [CAPTURE, SIDECAR, "migrate"]);
    assert_eq!(patched["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert_eq!(patched["spec"]["containers"], pod["spec"]["containers"]);
    assert_eq!(names(&patched["spec"]["volumes"]), ["data", "outrigger-token", "outrigger-state"]);
    assert_eq!(patched["metadata"]["annotations"][DEFAULT_CONTAINER], "app");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_second_time_changes_nothing() {
    let once = injected(&pod(json!({"containers": [{"name": "app"}]}))).pod;

    assert_eq!(inject(&once, &settings(), &ProbeSecret::fixed("s3cret")), Outcome::Skipped(Skip::Injected));
}

#[test]
fn the_json_patch_makes_the_same_pod() {
    let pod = json!({"metadata": {"annotations": {"a/b": "c"}}, "spec": {"containers": [{"name": "app"}]}});
    let injected = injected(&pod);

    let mut patched = pod.clone();
    for operation in injected.json_patch(&pod).as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        patched.pointer_mut(parent).unwrap()[name] = operation["value"].clone();
    }

    assert_eq!(patched, injected.pod);
    assert_eq!(patched["metadata"]["annotations"]["a/b"], "c");
}

#[test]
fn pods_that_cannot_have_a_sidecar_are_left_with_a_reason() {
    let label =
        |value: &str| json!({"metadata": {"labels": {"outrigger.io/inject": value}}, "spec": {"containers": []}});
    for (pod, reason) in [
        (pod(json!({"hostNetwork": true, "containers": []})), Skip::HostNetwork),
        (pod(json!({"os": {"name": "windows"}, "containers": []})), Skip::Windows),
        (pod(json!({"securityContext": {"runAsUser": 4140}, "containers": [{"name": "a"}]})), Skip::OwnUser),
        (pod(json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 4140}}]})), Skip::OwnUser),
        (pod(json!({"initContainers": [{"name": SIDECAR}], "containers": []})), Skip::Injected),
        (label("disabled"), Skip::Disabled),
        (json!({"metadata": {}}), Skip::NoSpec),
    ] {
        assert_eq!(inject(&pod, &settings(), &ProbeSecret::fixed("s3cret")), Outcome::Skipped(reason), "{pod}");
    }
    assert!(matches!(inject(&label("enabled"), &settings(), &ProbeSecret::fixed("s3cret")), Outcome::Injected(_)));
}

#[test]
fn annotations_reach_the_containers() {
    let pod = json!({
        "metadata": {"annotations": {
            "config.outrigger.io/cpu-request": "50m",
            "config.outrigger.io/memory-limit": "64Mi",
            "config.outrigger.io/skip-inbound-ports": "25",
            "config.outrigger.io/skip-outbound-cidrs": "192.0.2.0/24",
            "config.outrigger.io/access-log": "all",
            DEFAULT_CONTAINER: "logs",
        }},
        "spec": {"containers": [{"name": "app"}, {"name": "logs"}]},
    });

    let Injected { pod: patched, warnings } = injected(&pod);

    assert_eq!(warnings, Vec::<String>::new());
    let [capture, sidecar] = [0, 1].map(|index| &patched["spec"]["initContainers"][index]);
    let args = capture["args"].as_array().unwrap();
    assert!(args.contains(&json!("--skip-inbound-ports=4192,4193,25")), "{args:?}");
    assert!(args.contains(&json!("--skip-outbound-cidrs=192.0.2.0/24")), "{args:?}");
    assert_eq!(sidecar["resources"]["requests"], json!({"cpu": "50m", "memory": "16Mi"}));
    assert_eq!(sidecar["resources"]["limits"], json!({"memory": "64Mi"}));
    let env = sidecar["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "OUTRIGGER_ACCESS_LOG", "value": "all"})), "{env:?}");
    assert_eq!(patched["metadata"]["annotations"][DEFAULT_CONTAINER], "logs", "what its owner chose");
}

#[test]
fn a_port_of_the_sidecar_is_a_warning() {
    let pod = pod(json!({"containers": [{"name": "app", "ports": [{"containerPort": 4143}]}]}));

    let warnings = injected(&pod).warnings;

    assert!(warnings[0].contains("container app") && warnings[0].contains("4143"), "{warnings:?}");
}

#[test]
fn the_sidecar_asks_for_no_more_rights_than_restricted_gives() {
    let patched = injected(&pod(json!({"containers": [{"name": "app"}]}))).pod;
    let [capture, sidecar] = [0, 1].map(|index| &patched["spec"]["initContainers"][index]["securityContext"]);

    assert_eq!(sidecar["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!((&sidecar["runAsNonRoot"], &sidecar["runAsUser"]), (&json!(true), &json!(4140)));
    assert_eq!(capture["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}));
    for context in [capture, sidecar] {
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    }
}

/// RFC 6902 section 4.1: what a member is added to has to be there.
#[test]
fn the_patch_of_a_pod_without_metadata_adds_them_as_a_whole() {
    for metadata in [None, Some(json!(null)), Some(json!({}))] {
        let mut pod = json!({"spec": {"containers": [{"name": "app"}]}});
        if let Some(metadata) = &metadata {
            pod["metadata"] = metadata.clone();
        }

        let patch = injected(&pod).json_patch(&pod);

        let paths: Vec<&str> = patch.as_array().unwrap().iter().filter_map(|step| step["path"].as_str()).collect();
        let is_object = metadata.is_some_and(|metadata| metadata.is_object());
        assert_eq!(paths[0], if is_object { "/metadata/annotations" } else { "/metadata" });
    }
}

#[test]
fn prometheus_finds_the_sidecar_unless_the_pod_says_what_to_scrape() {
    let with = |annotations: Value| {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
        let patched = injected(&pod).pod;
        let sidecar = &patched["spec"]["initContainers"][1];
        let port = sidecar["ports"].as_array().unwrap().iter().find(|port| port["name"] == "outrigger-stats");
        let mut environment = Vec::new();
        for variable in sidecar["env"].as_array().unwrap() {
            let name = variable["name"].as_str().unwrap();
            if name.starts_with("OUTRIGGER_METRICS") || name == "OUTRIGGER_SCRAPE" {
                environment.push(format!("{name}={}", variable["value"].as_str().unwrap()));
            }
        }
        let found = &patched["metadata"]["annotations"];
        let prometheus = ["scrape", "port", "path"].map(|name| found[&format!("prometheus.io/{name}")].clone());
        (prometheus, port.map(|port| port["containerPort"].clone()), environment)
    };
    let (ours, none) = ([json!("true"), json!("4194"), json!("/metrics")], [json!(null), json!(null), json!(null)]);

    let everyone = with(json!({}));
    assert_eq!(everyone, (ours.clone(), Some(json!(4194)), vec!["OUTRIGGER_METRICS_PORT=4194".to_owned()]));
    let mesh = with(json!({"config.outrigger.io/metrics": "mesh"}));
    assert_eq!(mesh.0, ours);
    assert_eq!(mesh.2, ["OUTRIGGER_METRICS_PORT=4194", "OUTRIGGER_METRICS_FROM=mesh"]);
    assert_eq!(with(json!({"config.outrigger.io/metrics": "off"})), (none, None, vec![]));
    let own = with(json!({"prometheus.io/port": "9090", "config.outrigger.io/scrape": "9090/metrics"}));
    assert_eq!(own.0, [json!(null), json!("9090"), json!(null)], "what its owner chose");
    assert_eq!(own.2, ["OUTRIGGER_METRICS_PORT=4194", "OUTRIGGER_SCRAPE=9090/metrics"]);
}
