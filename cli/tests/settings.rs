//! What the injector and the chart let through must run: their values beside the programs that read them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use clap::{CommandFactory as _, Parser as _};
use outrigger_cli::chart::{MESH, Release, values};
use outrigger_injector::{ANNOTATIONS, MetricsFrom, Outcome, ProbeSecret, Settings, inject};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values that a hand might write for any annotation.
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "10m",
    "1Mi",
    "16Mi",
    "32Mi",
    "64Mi",
    "1Gi",
    "1e3",
    "25",
    "25,8000-8100",
    "9300-9200",
    "0-1",
    "70000",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "2001:db8::/32",
    "192.0.2.1",
    "off",
    "errors",
    "all",
    "sample:1",
    "sample:0",
    "sample:99999999999",
    "info",
    "foo=bar=baz",
    "info,outrigger_sidecar=debug",
    "debug,",
    "[x",
    "http://a:4317",
    "http://a:99999",
    "http://[::1]:4317",
    "https://a",
    "http://",
    "0.5",
    "1.5",
    "NaN",
    "inf",
    "1e-2",
    "30s",
    "5h",
    "999999m",
    "s",
    "permissive",
    "strict",
    "keep",
    "add",
    "everyone",
    "mesh",
    "9090/metrics",
    "9090/metrics,8081/actuator/prometheus",
    "9090/$(OUTRIGGER_TRUST_ANCHORS_PEM)",
    "9090/a?b",
    "$(POD_NAME)",
    " info ",
    "ö",
];

#[test]
fn every_annotation_that_is_taken_starts_the_sidecar() {
    let mut taken = BTreeMap::new();
    for (name, _) in ANNOTATIONS {
        for value in VALUES {
            *taken.entry(name).or_insert(0) += usize::from(starts(name, value));
        }
    }
    assert!(taken.values().all(|taken| *taken > 0), "an annotation took no value: {taken:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_passes_that_the_sidecar_refuses(
        name in prop::sample::select(ANNOTATIONS.map(|(name, _)| name).to_vec()),
        value in "[0-9a-z=,.:/\\[\\]MGi{}\" -]{0,12}|(info|a|b::c|\\[d\\])(=(debug|x|1|=))?(,[a-z=]{0,6})?|[0-9]{1,4}-[0-9]{1,5}|http://[a-z0-9.:\\[\\]@/-]{0,10}",
    ) {
        starts(name, &value);
    }
}

/// Injects a pod with this annotation, and gives what came of it to the sidecar's own reader. Says whether the value was taken.
fn starts(name: &str, value: &str) -> bool {
    let annotation = format!("config.outrigger.io/{name}");
    let pod = json!({"metadata": {"annotations": {annotation: value}}, "spec": {"containers": [{"name": "app"}]}});
    let settings = Settings {
        image: "outrigger/sidecar:test".into(),
        pull_policy: None,
        control_plane: "outrigger-control-plane.outrigger-system.svc:4180".into(),
        trust_domain: "mesh.local".into(),
        trust_anchors: String::new(),
        otlp: None,
        metrics: MetricsFrom::default(),
    };
    let Outcome::Injected(injected) = inject(&pod, &settings, &ProbeSecret::fixed("s3cret")) else {
        panic!("not injected")
    };
    for container in injected.pod["spec"]["initContainers"].as_array().unwrap() {
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned());
        let command = std::iter::once("outrigger-sidecar".to_owned()).chain(args).chain(flags(&container["env"]));
        if let Err(error) = outrigger_sidecar::Args::try_parse_from(command) {
            panic!("{name}={value:?} is taken, and the sidecar does not start: {error}");
        }
        let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
        assert!(!matches!(limit, "1Mi" | "16Mi" | "1" | "25"), "{name}={value}: {limit} is too little to start in");
    }
    !injected.warnings.iter().any(|warning| warning.contains(name))
}

/// The flags that stand for a container's variables.
fn flags(environment: &Value) -> Vec<String> {
    let command = outrigger_sidecar::Args::command();
    let run = command.find_subcommand("run").unwrap();
    let mut flags = Vec::new();
    for variable in environment.as_array().into_iter().flatten() {
        let flag =
            run.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == variable["name"].as_str().unwrap()));
        if let (Some(flag), Some(value)) = (flag, variable["value"].as_str()) {
            let value = value.replace("$(POD_NAMESPACE)/$(POD_NAME)", "shop/web-1");
            flags.push(format!("--{}={value}", flag.get_long().unwrap()));
        }
    }
    flags
}

#[test]
fn every_value_that_the_chart_takes_starts_the_control_plane() {
    for (value, taken) in [
        ("leafLifetime=10s", true),
        ("leafLifetime=24h", true),
        ("leafLifetime=30d", true),
        ("leafLifetime=43200m", true),
        ("leafLifetime=1s", false),
        ("leafLifetime=9s", false),
        ("leafLifetime=31d", false),
        ("leafLifetime=721h", false),
        ("leafLifetime=43201m", false),
        ("leafLifetime=2592001s", false),
        ("controlPlane.logFilter=foo=bar=baz", false),
        (r"controlPlane.logFilter=info\,outrigger_control_plane=debug", true),
        ("injector.logFilter=x=y", false),
        ("controlPlane.resources.limits.memory=1Mi", false),
        ("controlPlane.resources.limits.memory=64Mi", true),
        ("injector.resources.limits.memory=16M", false),
        ("injector.resources.limits.memory=1Gi", true),
        ("sidecar.otlp=https://collector:4317", false),
        ("sidecar.otlp=http://collector.tracing:4317", true),
        ("sidecar.metrics=mesh", true),
        ("sidecar.metrics=off", true),
        ("sidecar.metrics=true", false),
        ("image.tag=a b", false),
        ("trustDomain=Mesh", false),
    ] {
        let release =
            Release { name: "outrigger".into(), namespace: "outrigger-system".into(), service: "Helm".into() };
        let change = values::parse_set(value).unwrap();
        let rendered = MESH.render(&release, &[change]);
        assert_eq!(rendered.is_ok(), taken, "{value}: {:?}", rendered.err());
        let Ok(objects) = rendered else { continue };
        for (deployment, parse) in [
            ("outrigger-control-plane", control_plane as fn(Vec<String>) -> Result<(), String>),
            ("outrigger-injector", injector),
        ] {
            let object = objects
                .iter()
                .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == deployment);
            let container = &object.unwrap()["spec"]["template"]["spec"]["containers"][0];
            let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned());
            let command = std::iter::once(deployment.to_owned()).chain(args);
            parse(command.collect())
                .unwrap_or_else(|error| panic!("{value} is taken, and {deployment} does not start: {error}"));
        }
    }
}

fn control_plane(command: Vec<String>) -> Result<(), String> {
    outrigger_control_plane::Args::try_parse_from(command).map(drop).map_err(|error| error.to_string())
}

fn injector(command: Vec<String>) -> Result<(), String> {
    outrigger_injector::Args::try_parse_from(command).map(drop).map_err(|error| error.to_string())
}
