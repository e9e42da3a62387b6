use serde_json::json;

use super::*;

struct Build(Value);

fn pod(name: &str) -> Build {
    Build(json!({
        "metadata": {"name": format!("{name}-5d9-x"), "namespace": "shop", "labels": {"pod-template-hash": "5d9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5d9"), "uid": "", "controller": true}]},
        "spec": {"containers": [{"name": "app"}]},
    }))
}

impl Build {
    fn meshed(mut self, ready: bool, version: &str) -> Self {
        self.0["metadata"]["annotations"] = json!({"outrigger.io/injected": version});
        self.0["spec"]["initContainers"] = json!([{"name": "outrigger-sidecar"}]);
        self.0["status"] = json!({"initContainerStatuses": [
            {"name": "outrigger-sidecar", "ready": ready, "image": "", "imageID": "", "restartCount": 0}]});
        self
    }

    fn with(mut self, path: &str, value: Value) -> Self {
        *self.0.pointer_mut(path.rsplit_once('/').unwrap().0).unwrap() = {
            let (parent, last) = path.rsplit_once('/').unwrap();
            let mut parent = self.0.pointer(parent).unwrap().clone();
            parent[last.replace("~1", "/")] = value;
            parent
        };
        self
    }

    fn build(self) -> Pod {
        serde_json::from_value(self.0).unwrap()
    }
}

fn seen(pods: Vec<Build>) -> Seen<'static> {
    let labels = Labels::from([("outrigger.io/inject".into(), "enabled".into())]);
    Seen {
        mesh_namespace: "outrigger-system",
        revision: "",
        version: "1.2.3",
        namespaces: BTreeMap::from([("shop".into(), ObjectMeta { labels: Some(labels), ..ObjectMeta::default() })]),
        revisions: Some(BTreeSet::from([String::new()])),
        pods: pods.into_iter().map(Build::build).collect(),
        roots: Roots::new(),
        refused: Vec::new(),
        all_asked: true,
        connected: BTreeMap::new(),
    }
}

fn found(seen: &Seen<'_>) -> Vec<(&'static str, Level)> {
    seen.judge(true).iter().map(|check| (check.code, check.level)).collect()
}

#[test]
fn a_pod_from_before_the_label_is_found_with_the_command_that_mends_it() {
    let mut seen = seen(vec![pod("web"), pod("web").meshed(true, "1.2.3")]);
    seen.all_asked = false;

    let checks = seen.judge(true);

    assert_eq!(checks[0].code, "OC031");
    assert_eq!(checks[0].message, "deployment/web in shop: 1 of 2 pods without a sidecar (created before the label)");
    assert_eq!(checks[0].hint.as_deref(), Some("kubectl rollout restart -n shop deployment/web"));
}

#[test]
fn the_pods_label_wins_over_the_namespaces() {
    for (label, value, expected) in [
        ("outrigger.io~1inject", "disabled", false),
        ("outrigger.io~1inject", "enabled", true),
        ("outrigger.io~1inject", "yes", true),
        ("outrigger.io~1rev", "blue", false),
    ] {
        let seen = seen(vec![pod("web").with(&format!("/metadata/labels/{label}"), value.into())]);
        assert_eq!(seen.should_be_meshed(&seen.pods[0]), expected, "{label}={value}");
    }
    for (namespace, expected) in [("shop", true), ("other", false), ("kube-system", false)] {
        let seen = seen(vec![pod("web").with("/metadata/namespace", namespace.into())]);
        assert_eq!(seen.should_be_meshed(&seen.pods[0]), expected, "{namespace}");
    }
}

#[test]
fn pods_that_cannot_be_meshed_are_not_asked_to_restart() {
    for (path, value) in [
        ("/spec/hostNetwork", true.into()),
        ("/spec/os", json!({"name": "windows"})),
        ("/spec/securityContext", json!({"runAsUser": 4140})),
    ] {
        let seen = seen(vec![pod("web").with(path, value)]);
        assert_eq!(found(&seen), [("OC034", Level::Warn)], "{path}");
    }
}

#[test]
fn unready_old_and_absent_sidecars_are_found() {
    let unready = seen(vec![pod("web").meshed(false, "1.2.3")]);
    assert_eq!(found(&unready), [("OC032", Level::Error)]);

    let mut old = seen(vec![pod("web").meshed(true, "1.0.0")]);
    old.all_asked = false;
    assert_eq!(found(&old), [("OC033", Level::Warn)]);

    let absent = seen(vec![pod("web").meshed(true, "1.2.3")]);
    assert_eq!(found(&absent), [("OC012", Level::Error)]);
}

#[test]
fn sidecars_in_step_are_one_line() {
    let mut seen = seen(vec![pod("web").meshed(true, "1.2.3"), pod("cart").meshed(true, "1.2.3")]);
    for name in ["shop/web-5d9-x", "shop/cart-5d9-x"] {
        seen.connected.insert(name.into(), (json!({"workload": name, "ackedSnapshot": 7}), 7));
    }
    assert_eq!(seen.judge(true)[0].message, "2 sidecars serve what is current");
    assert_eq!(found(&seen), [("OC012", Level::Ok)]);
}

#[test]
fn every_owner_has_a_way_to_restart() {
    let owned = |kind: &str| {
        let owner = json!([{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "", "controller": true}]);
        Owner::of(&pod("web").with("/metadata/ownerReferences", owner).build()).restart()
    };
    assert_eq!(owned("StatefulSet"), "kubectl rollout restart -n shop statefulset/o");
    assert!(owned("Job").contains("delete the job"));
    assert!(owned("Rollout").contains("delete the pods of rollout/o"));
    assert!(
        Owner::of(&pod("web").with("/metadata/ownerReferences", json!([])).build()).restart().contains("pod web-5d9-x")
    );
}

#[test]
fn one_cause_is_told_once_with_the_pods_it_is_told_of() {
    let mut seen = seen(vec![pod("web").meshed(true, "1.2.3"), pod("cart").meshed(true, "1.2.3")]);
    let away = seen.judge(true);
    assert_eq!(away.len(), 1);
    assert_eq!(away[0].message, "2 sidecars are not connected to the control plane: shop/web-5d9-x, shop/cart-5d9-x");

    for name in ["shop/web-5d9-x", "shop/cart-5d9-x"] {
        seen.connected.insert(name.into(), (json!({"workload": name, "ackedSnapshot": 5}), 7));
    }
    assert_eq!(found(&seen), [("OC012", Level::Warn)]);
}

#[test]
fn labels_that_mean_nothing_are_found() {
    for (of, key, value) in [
        ("labels", "outrigger.io/inject", "true"),
        ("annotations", "outrigger.io/inject", "enabled"),
        ("labels", "injection", "enabled"),
        ("labels", "outrigger.io/injection", "enabled"),
    ] {
        let mut seen = seen(Vec::new());
        let namespace = json!({ of: { key: value } });
        seen.namespaces.insert("shop".into(), serde_json::from_value(namespace).unwrap());
        assert_eq!(found(&seen), [("OC035", Level::Warn)], "namespace {of} {key}={value}");
    }
    let opted_out = seen(vec![
        pod("web").meshed(true, "1.2.3").with("/metadata/labels/outrigger.io~1inject", "disable".into()),
        pod("web").meshed(true, "1.2.3").with("/metadata/labels/outrigger.io~1inject", "disable".into()),
    ]);
    let checks = opted_out.judge(true);
    assert_eq!(checks.iter().filter(|check| check.code == "OC035").count(), 1);
    assert!(checks[0].message.starts_with("deployment/web in shop: label outrigger.io/inject=disable means nothing"));
}

#[test]
fn a_revision_without_an_injector_is_found() {
    let mut seen = seen(Vec::new());
    let labels = json!({"labels": {"outrigger.io/inject": "enabled", "outrigger.io/rev": "blu"}});
    seen.namespaces.insert("shop".into(), serde_json::from_value(labels).unwrap());
    assert_eq!(found(&seen), [("OC036", Level::Warn)]);

    seen.revisions = Some(BTreeSet::from([String::new(), "blu".into()]));
    assert_eq!(found(&seen), [("OC031", Level::Ok)], "another installation's");
}

#[test]
fn pods_of_an_earlier_root_are_told_to_restart_and_nothing_else_is_said_of_them() {
    let root = |base64: &str| format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let (old, new) = (root("b2xk"), root("bmV3"));
    let injected = |pem: &str| {
        let env = json!([{"name": "OUTRIGGER_TRUST_ANCHORS_PEM", "value": pem}]);
        let sidecar = json!([{"name": "outrigger-sidecar", "env": env}]);
        pod("web").meshed(false, "1.2.3").with("/spec/initContainers", sidecar)
    };
    let mut seen = seen(vec![injected(&old)]);
    seen.roots = certificates::certificates(new.as_bytes());
    assert_eq!(found(&seen), [("OC037", Level::Error)]);
    assert_eq!(seen.judge(true)[0].hint.as_deref(), Some("kubectl rollout restart -n shop deployment/web"));

    seen.roots = certificates::certificates(format!("{new}{old}").as_bytes());
    assert_eq!(found(&seen), [("OC032", Level::Error)], "both are trusted while a root is replaced");
}

#[test]
fn a_labelled_namespace_without_pods_is_not_called_unlabelled() {
    let empty = seen(Vec::new());
    assert!(empty.judge(true)[0].message.contains("(shop)"));
    assert_eq!(empty.judge(false), [], "what is hidden is not called absent");
}
