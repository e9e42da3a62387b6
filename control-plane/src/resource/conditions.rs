//! What a route's status says (GEP-1364, for a mesh GEP-1294): for each Service that it names as a parent, whether it is
//! in force there, and whether its backends are there.

use outrigger_proto::{Key, wire};

use super::problems::parent_problem;
use super::refusal::Refusal;
use super::routes::{names_port, resolve};
use super::{Published, resource, service};
use crate::objects::ParentRef;
use crate::snapshot::Snapshot;
use crate::state::PreparedRoute;

/// What is said of one parent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParentConditions {
    /// The parent as the route names it.
    pub(crate) parent: ParentRef,
    /// In the order of their names' importance: `Accepted`, `ResolvedRefs`, and `PartiallyInvalid` only when it is.
    pub(crate) conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Its name.
    pub(crate) kind: &'static str,
    /// Whether it is so.
    pub(crate) holds: bool,
    /// Why, in one word.
    pub(crate) reason: &'static str,
    /// Why, for people.
    pub(crate) message: String,
}

/// Returns the conditions for all parents that are Services; parents of other kinds are others' to judge.
pub(crate) fn conditions(snapshot: &Snapshot, prepared: &PreparedRoute) -> Vec<ParentConditions> {
    let resolved = resolved(snapshot, prepared);
    let parents = prepared.route.parents.iter().filter(|parent| parent.is_service());
    parents
        .map(|parent| {
            let refusal = parent_problem(snapshot, prepared, parent).or_else(|| nothing_left(prepared));
            let mut conditions = Vec::with_capacity(3);
            let partially = refusal.is_none() && !prepared.refused.is_empty();
            conditions.push(match refusal {
                Some(Refusal { reason, message }) => condition("Accepted", false, reason, message),
                None => condition("Accepted", true, "Accepted", prepared.ignored.join("; ")),
            });
            conditions.push(resolved.clone());
            if partially {
                let message = format!("Dropped Rule: {}", prepared.refused.join("; "));
                conditions.push(condition("PartiallyInvalid", true, UNSUPPORTED, message));
            }
            ParentConditions { parent: parent.clone(), conditions }
        })
        .collect()
}

/// Returns the resources that carry a route to the clients of one of its parents, in the versions that hold its present form;
/// or why they do not carry it.
pub(crate) fn carriers(
    snapshot: &Published,
    prepared: &PreparedRoute,
    parent: &ParentRef,
) -> Result<Vec<wire::Held>, String> {
    let namespace = parent.namespace.as_deref().unwrap_or(&prepared.route.meta.namespace);
    let Some(service) = snapshot.state.services.get(namespace, &parent.name) else { return Ok(Vec::new()) };
    let mut carriers = Vec::new();
    for port in service.ports.iter().filter(|port| names_port(parent, port)) {
        let port = outrigger_proto::ServicePort {
            namespace: service.meta.namespace.arc(),
            name: service.meta.name.arc(),
            port: port.port,
        };
        if let Some(reason) = service::compiled(snapshot, &port).and_then(|compiled| compiled.too_large) {
            return Err(reason.to_string());
        }
        let key = Key::Service(port);
        if let Some(resource) = resource(snapshot, &key) {
            carriers.push(wire::Held { key: key.to_string(), version: resource.version });
        }
    }
    Ok(carriers)
}

/// A route of which no rule can be kept is not accepted at all.
fn nothing_left(prepared: &PreparedRoute) -> Option<Refusal> {
    let rules = prepared.route.rules.len();
    (rules > 0 && prepared.refused.len() == rules).then(|| Refusal::new(UNSUPPORTED, prepared.refused.join("; ")))
}

fn resolved(snapshot: &Snapshot, prepared: &PreparedRoute) -> Condition {
    let references = prepared.rules.iter().flat_map(|rule| rule.references().map(move |reference| (rule, reference)));
    let mut refusals = references.filter_map(|(rule, reference)| {
        let refusal = resolve(snapshot, prepared, reference).err()?;
        Some((refusal.reason, format!("rule {}: {}", rule.wire.index, refusal.message)))
    });
    let Some((reason, mut message)) = refusals.next() else {
        return condition("ResolvedRefs", true, "ResolvedRefs", String::new());
    };
    let others = refusals.count();
    if others > 0 {
        message.push_str(&format!("; and {others} more"));
    }
    condition("ResolvedRefs", false, reason, message)
}

fn condition(kind: &'static str, holds: bool, reason: &'static str, message: String) -> Condition {
    Condition { kind, holds, reason, message }
}

pub(super) const UNSUPPORTED: &str = "UnsupportedValue";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{route, route_in, service, snapshot};

    /// `Kind=True/Reason` of each condition of each parent of the route `shop/r`.
    fn told(yaml: &str) -> Vec<String> {
        let snapshot = snapshot(yaml);
        let routes = snapshot.state.routes.values().flat_map(|routes| routes.iter());
        let prepared = routes.into_iter().find(|prepared| &*prepared.route.meta.name == "r").unwrap();
        let parents = conditions(&snapshot, prepared);
        let lines = parents.iter().map(|parent| {
            let line = |c: &Condition| format!("{}={}/{}", c.kind, c.holds, c.reason);
            format!("{}: {}", parent.parent.name, parent.conditions.iter().map(line).collect::<Vec<_>>().join(" "))
        });
        lines.collect()
    }

    fn shop() -> String {
        service("web", "10.96.0.1") + &service("v1", "10.96.0.2")
    }

    #[test]
    fn each_case_has_its_reason() {
        const FINE: &str = "Accepted=true/Accepted ResolvedRefs=true/ResolvedRefs";
        let to = |name: &str| format!("  rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]\n");
        let named = |parent: &str| route_in("shop", "HTTPRoute", "r", parent, &to("v1"));
        let refused = "{matches: [{path: {type: RegularExpression, value: '('}}]}";
        let mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}}}]";
        let kept = "{backendRefs: [{name: v1, port: 80}]}";
        for (about, yaml, expected) in [
            ("in force", route("HTTPRoute", "r", "web", &to("v1")), format!("web: {FINE}")),
            (
                "no such parent",
                route("HTTPRoute", "r", "none", &to("v1")),
                "none: Accepted=false/NoMatchingParent ResolvedRefs=true/ResolvedRefs".to_owned(),
            ),
            (
                "no such port of the parent",
                named("{group: '', kind: Service, name: web, port: 81}"),
                "web: Accepted=false/NoMatchingParent ResolvedRefs=true/ResolvedRefs".to_owned(),
            ),
            (
                "the core group by its other name",
                named("{group: core, kind: Service, name: web}"),
                format!("web: {FINE}"),
            ),
            (
                "no such backend",
                route("HTTPRoute", "r", "web", &to("none")),
                "web: Accepted=true/Accepted ResolvedRefs=false/BackendNotFound".to_owned(),
            ),
            (
                "no such mirror",
                route(
                    "HTTPRoute",
                    "r",
                    "web",
                    &format!("  rules: [{{backendRefs: [{{name: v1, port: 80}}], {mirror}}}]\n"),
                ),
                "web: Accepted=true/Accepted ResolvedRefs=false/BackendNotFound".to_owned(),
            ),
            (
                "one rule of two",
                route("HTTPRoute", "r", "web", &format!("  rules: [{refused}, {kept}]\n")),
                format!("web: {FINE} PartiallyInvalid=true/UnsupportedValue"),
            ),
            (
                "no rule is left",
                route("HTTPRoute", "r", "web", &format!("  rules: [{refused}]\n")),
                "web: Accepted=false/UnsupportedValue ResolvedRefs=true/ResolvedRefs".to_owned(),
            ),
            (
                "another kind has precedence",
                route("HTTPRoute", "r", "web", &to("v1")) + &route("GRPCRoute", "g", "web", &to("v1")),
                "web: Accepted=false/Conflicted ResolvedRefs=true/ResolvedRefs".to_owned(),
            ),
        ] {
            assert_eq!(told(&(shop() + &yaml)), [expected], "{about}");
        }
        let gateway =
            route_in("shop", "HTTPRoute", "r", "{name: edge}, {group: '', kind: Service, name: web}", &to("v1"));
        assert_eq!(told(&(shop() + &gateway)), [format!("web: {FINE}")], "a Gateway is not ours to judge");
    }

    #[test]
    fn the_message_names_the_rule_and_its_field_and_says_what_is_wrong() {
        const PATTERN: &str = "{path: {type: RegularExpression, value: '('}}";
        const DOTS: &str = "{path: {value: /a/../b}}";
        let pattern = "rule 0 is dropped: matches[1].path.value: `(` is not a regular expression: unclosed group";
        let dots = "matches[0].path.value: `/a/../b`: the path holds a dot segment; write `/b`";
        let whole = format!("  rules: [{{matches: [{{}}, {PATTERN}]}}, {{matches: [{DOTS}]}}]\n");
        let partly = format!("  rules: [{{matches: [{{}}, {PATTERN}]}}, {{backendRefs: [{{name: v1, port: 80}}]}}]\n");
        for (spec, kind, holds, message) in [
            (whole, "Accepted", false, format!("{pattern}; rule 1 is dropped: {dots}")),
            (partly, "PartiallyInvalid", true, format!("Dropped Rule: {pattern}")),
        ] {
            let snapshot = snapshot(&(shop() + &route("HTTPRoute", "r", "web", &spec)));
            let prepared = snapshot.state.routes.values().flat_map(|routes| routes.iter()).next().unwrap();

            let conditions = conditions(&snapshot, prepared).remove(0).conditions;

            let told = conditions.into_iter().find(|condition| condition.kind == kind);
            assert_eq!(told, Some(condition(kind, holds, "UnsupportedValue", message)));
        }
    }

    /// Of `shop/r` on `web`, as an API server of a newer Gateway API sends it.
    fn newer(spec: &serde_json::Value) -> Vec<Condition> {
        use crate::objects::{Kind, from_json};
        use crate::state::Event;

        let mut spec = spec.clone();
        spec["parentRefs"] = serde_json::json!([{"group": "", "kind": "Service", "name": "web"}]);
        let route = serde_json::json!({"apiVersion": "gateway.networking.k8s.io/v2", "kind": "HTTPRoute",
            "metadata": {"name": "r", "namespace": "shop"}, "spec": spec});
        let mut state = crate::fixture::state(&shop());
        let kind = Kind::Route(outrigger_proto::model::RouteKind::Http);
        state.apply(Event::Put(from_json(kind, route).unwrap()));
        let snapshot = Snapshot::new(state, None);
        let prepared = snapshot.state.routes.values().flat_map(|routes| routes.iter()).next().unwrap();
        conditions(&snapshot, prepared).remove(0).conditions
    }

    #[test]
    fn what_a_newer_api_allows_is_named_and_the_rest_is_kept() {
        use serde_json::json;

        let kept = json!({"backendRefs": [{"name": "v1", "port": 80}]});
        let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"query": "x"}});
        let field = json!({"matches": [{"path": {"value": "/a"}}], "filters": [rewrite]});
        let value = json!({"matches": [{"path": {"type": "Glob", "value": "/*"}}]});

        let one = newer(&json!({"rules": [kept, field, value]}));
        assert_eq!((one[0].holds, one[2].kind, one[2].reason), (true, "PartiallyInvalid", "UnsupportedValue"));
        let said = &one[2].message;
        let refused = "rule 1 is refused, its requests get an error: spec.rules[1].filters[0].urlRewrite.query: ";
        assert!(said.contains(refused), "{said}");
        assert!(said.contains("rule 2 is dropped: spec.rules[2].matches[0].path.type: "), "{said}");

        let all = newer(&json!({"rules": [field]}));
        assert_eq!((all[0].holds, all[0].reason), (false, "UnsupportedValue"));
        let outside = newer(&json!({"rules": [kept], "fallback": 1}));
        assert!(outside[0].holds && outside[0].message.contains("spec.fallback is not known"), "{outside:?}");
    }
}
