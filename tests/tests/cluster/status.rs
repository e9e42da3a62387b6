//! The status of routes: what was accepted, and what is in force where.

use outrigger_tests::cluster::{Space, service};
use serde_json::Value;

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

#[test]
fn each_case_has_its_conditions() {
    let Some(space) = Space::meshed() else { return };
    space.cluster().with_routes();
    let names = ["web", "v1", "taken"].map(|name| service(name, "")).concat();
    let other = "---\napiVersion: v1\nkind: Service\nmetadata: {name: alias}\nspec: {type: ExternalName, externalName: a.example, \
                 ports: [{port: 80}]}\n";
    space.apply(&(names + &service("none", "  clusterIP: None\n") + other));
    let cases: Vec<Case> = CASES.lines().filter(|line| !line.trim().is_empty()).map(Case::read).collect();

    let manifest: String = cases.iter().map(Case::manifest).collect();
    space.apply(&manifest);

    let mut wrong = Vec::new();
    for case in &cases {
        let told = space.eventually(&format!("a status of {}", case.name), || {
            let route = space.json(["get", case.kind, case.name]);
            let is_told = !route["status"]["parents"][0].is_null();
            is_told.then_some(route)
        });
        let parents = told["status"]["parents"].as_array().unwrap();
        assert_eq!(parents.len(), 1, "{told:#}");
        assert_eq!(parents[0]["parentRef"], told["spec"]["parentRefs"][0], "as it was written: {told:#}");
        let conditions = parents[0]["conditions"].as_array().unwrap();
        let old = conditions.iter().find(|condition| condition["observedGeneration"] != told["metadata"]["generation"]);
        assert_eq!(old, None, "{told:#}");
        let said =
            conditions.iter().map(|c| format!("{}={}/{}", text(&c["type"]), text(&c["status"]), text(&c["reason"])));
        let said = said.collect::<Vec<_>>().join(" ");
        if said != case.conditions {
            wrong.push(format!("{}\n  expected {}\n  but was  {said}", case.name, case.conditions));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Kind, name, parentRef, rules, and the conditions in their order. `+`: accepted, and all that it refers to is there.
const CASES: &str = r"
HTTPRoute | fine | web | {backendRefs: [{name: v1, port: 80}]} | + Programmed=True/Programmed
HTTPRoute | port | web, port: 80 | {backendRefs: [{name: v1, port: 80}]} | + Programmed=True/Programmed
HTTPRoute | section | web, sectionName: web | {backendRefs: [{name: v1, port: 80}]} | + Programmed=True/Programmed
GRPCRoute | taken-by | taken | {backendRefs: [{name: v1, port: 80}]} | + Programmed=True/Programmed
TCPRoute | tcp | v1, port: 9090 | {backendRefs: [{name: v1, port: 80}]} | + Programmed=True/Programmed
HTTPRoute | taken | taken | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/Conflicted ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | nowhere | nobody | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | no-port | web, port: 81 | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | no-section | web, sectionName: grpc | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/NoMatchingParent ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | headless | none | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | alias | alias | {backendRefs: [{name: v1, port: 80}]} | Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | no-rule | web | {matches: [{path: {type: RegularExpression, value: '('}}]} | Accepted=False/UnsupportedValue ResolvedRefs=True/ResolvedRefs Programmed=False/Invalid
HTTPRoute | no-backend | web | {backendRefs: [{name: nobody, port: 80}]} | Accepted=True/Accepted ResolvedRefs=False/BackendNotFound Programmed=True/Programmed
HTTPRoute | bad-port | web | {backendRefs: [{name: v1, port: 81}]} | Accepted=True/Accepted ResolvedRefs=False/BackendNotFound Programmed=True/Programmed
HTTPRoute | to-alias | web | {backendRefs: [{name: alias, port: 80}]} | Accepted=True/Accepted ResolvedRefs=False/UnsupportedValue Programmed=True/Programmed
HTTPRoute | kind | web | {backendRefs: [{name: v1, group: example.org, kind: Store}]} | Accepted=True/Accepted ResolvedRefs=False/InvalidKind Programmed=True/Programmed
HTTPRoute | partly | web | {backendRefs: [{name: v1, port: 80}]}, {matches: [{path: {type: RegularExpression, value: '('}}]} | + Programmed=True/Programmed PartiallyInvalid=True/UnsupportedValue
";

/// A line of [`CASES`].
struct Case {
    kind: &'static str,
    name: &'static str,
    parent: &'static str,
    rules: &'static str,
    conditions: String,
}

impl Case {
    fn read(line: &'static str) -> Self {
        let [kind, name, parent, rules, conditions] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("five columns: {line}");
        };
        let conditions = conditions.replace('+', "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs");
        Self { kind, name, parent, rules, conditions }
    }

    fn manifest(&self) -> String {
        let Self { kind, name, parent, rules, .. } = self;
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: {parent}}}]\n  rules: [{rules}]\n"
        )
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn what_other_controllers_say_of_a_route_stays() {
    let Some(space) = Space::meshed() else { return };
    space.cluster().with_routes();
    space.apply(&(service("web", "") + "---\n" + &split(100, 0)));
    let before = programmed(&space, "1");
    let other = r#"[{"op": "add", "path": "/status/parents/0", "value": {"parentRef": {"name": "edge"}, "controllerName": "example.org/edge",
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Mine", "message": "", "observedGeneration": 7, "lastTransitionTime": "2020-02-02T02:02:02Z"}]}}]"#;
    space.text(["patch", "httproute", "web", "--subresource=status", "--type=json", "-p", other]);
    let others = space.json(["get", "httproute", "web"])["status"]["parents"][0].clone();
    assert_eq!(others["controllerName"], "example.org/edge");

    space.apply(&split(0, 100));

    let after = programmed(&space, "2");
    assert_eq!(after["lastTransitionTime"], before["lastTransitionTime"], "it was true and is");
    let parents = space.json(["get", "httproute", "web"])["status"]["parents"].clone();
    assert_eq!(parents.as_array().unwrap().len(), 2, "{parents:#}");
    assert!(parents.as_array().unwrap().contains(&others), "{parents:#}");
}

/// The condition `Programmed` of the route `web`, once it is true of this generation.
pub(super) fn programmed(space: &Space, generation: &str) -> Value {
    let condition = r#"{.status.parents[?(@.controllerName=="outrigger.io/mesh")].conditions[?(@.type=="Programmed")]"#;
    for (field, value) in [("observedGeneration", generation), ("status", "True")] {
        let path = format!("--for=jsonpath={condition}.{field}}}={value}");
        let waited = space.kubectl(["wait", "httproute/web", &path, "--timeout=60s"]).output().unwrap();
        let route = space.text(["get", "httproute", "web", "-o", "yaml"]);
        assert!(waited.status.success(), "{path}: {}\n{route}", String::from_utf8_lossy(&waited.stderr));
    }
    let route = space.json(["get", "httproute", "web"]);
    let parents = route["status"]["parents"].as_array().unwrap();
    let ours = parents.iter().find(|parent| parent["controllerName"] == "outrigger.io/mesh").unwrap();
    let conditions = ours["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Programmed").unwrap().clone()
}

pub(super) fn split(first: u32, second: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web}}\nspec:\n  \
         parentRefs: [{{group: '', kind: Service, name: web}}]\n  rules:\n  - backendRefs:\n    \
         - {{name: web, port: 80, weight: {first}}}\n    - {{name: web, port: 80, weight: {second}}}\n"
    )
}
