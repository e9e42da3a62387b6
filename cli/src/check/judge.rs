//! From pages to findings. Nothing here asks anybody: what it says depends on the pages alone.

use serde_json::Value;

use super::finding::{Category, Check, Level, error, ok, warn};
use super::pages::{Asked, Pages};

/// All findings.
pub(crate) fn all(pages: &Pages) -> Vec<Category> {
    vec![Category::new("control plane", control_plane(&pages.config)), Category::new("data plane", data_plane(pages))]
}

/// What a control plane says of itself on `/config`.
pub(crate) fn control_plane(config: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    let objects: u64 = config["counts"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    let (domain, snapshot) = (text(&config["trustDomain"]), config["snapshot"].as_u64().unwrap_or(0));
    checks.push(if config["synced"] == true {
        ok("OC001", format!("serves {objects} objects of trust domain {domain}, snapshot {snapshot}"))
    } else {
        error("OC001", "has not read its objects yet", "read its log: it says what it waits for")
    });
    for said in list(&config["sourceErrors"]) {
        let hint = "mend what it names: until then, what was known before stays in force";
        checks.push(error("OC002", plain(said), hint));
    }
    for problem in list(&config["problems"]) {
        let message = format!("{}: {}", text(&problem["object"]), text(&problem["reason"]));
        checks.push(warn("OC003", message, "the object is not in force as written"));
    }
    checks
}

fn data_plane(pages: &Pages) -> Vec<Check> {
    let connected: Vec<&Value> = list(&pages.sidecars["sidecars"]).collect();
    let snapshot = pages.config["snapshot"].as_u64().unwrap_or(0);
    let mut checks = Vec::new();
    if pages.asked.is_empty() {
        // Nobody to ask: the control plane's word alone.
        checks.extend(connected.iter().map(|status| in_step(text(&status["workload"]), Some(status), snapshot)));
    }
    for asked in &pages.asked {
        checks.extend(sidecar(asked));
        let own = asked.config["workload"]["name"].as_str().unwrap_or(&asked.name);
        let is_own = |status: &&&Value| {
            status["workload"].as_str().is_some_and(|name| name == own || name.ends_with(&format!("/{own}")))
        };
        checks.push(in_step(own, connected.iter().find(is_own).copied(), snapshot));
    }
    if checks.is_empty() {
        checks.push(warn("OC010", "no sidecar is connected", "start one: outrigger-sidecar run …"));
    }
    // One line for each sidecar that is well in every respect, and the rest in full.
    let mut brief = Vec::new();
    for check in checks {
        if check.level != Level::Ok || check.code == "OC012" {
            brief.push(check);
        }
    }
    brief
}

fn sidecar(asked: &Asked) -> Vec<Check> {
    let name = &asked.name;
    let mut checks = Vec::new();
    checks.push(match &asked.ready {
        Ok((200, _)) => ok("OC010", format!("{name} is ready")),
        Ok((_, said)) => error("OC010", format!("{name} is not ready: {}", said.trim()), "look at its log"),
        Err(why) => error("OC010", format!("{name} does not answer: {why}"), "is its process up?"),
    });
    if asked.config.is_null() {
        return checks;
    }
    let certificate = &asked.config["certificate"];
    let (left, lifetime) = (certificate["expiresInSeconds"].as_u64(), certificate["lifetimeSeconds"].as_u64());
    checks.push(match (left, lifetime) {
        // Renewal is due at half; a third says that it failed for a while.
        (Some(left), Some(lifetime)) if left * 3 > lifetime => {
            ok("OC011", format!("{name} is {}, for another {}", text(&certificate["identity"]), hours(left)))
        }
        (Some(left), _) => {
            let hint = "it could not renew: look at its log and at the control plane's";
            warn("OC011", format!("{name}'s certificate expires in {}", hours(left)), hint)
        }
        _ => error("OC011", format!("{name} has no certificate"), "its token may be used or expired: mint a new one"),
    });
    for refused in list(&asked.config["sync"]["refused"]) {
        let message = format!("{name} refused {}: {}", text(&refused["key"]), text(&refused["reason"]));
        checks.push(error("OC013", message, "the version before stays in force there"));
    }
    checks
}

/// Whether a sidecar serves what the control plane holds.
pub(crate) fn in_step(name: &str, status: Option<&Value>, snapshot: u64) -> Check {
    let Some(status) = status else {
        let hint = "it goes on with what it has; look at its log for why it cannot connect";
        return error("OC012", format!("{name} is not connected to the control plane"), hint);
    };
    let acked = status["ackedSnapshot"].as_u64().unwrap_or(0);
    let age = status["lastAckAgeMs"].as_u64().unwrap_or(0) / 1000;
    if acked >= snapshot {
        let identity = text(&status["identity"]);
        return ok("OC012", format!("{name} ({identity}) serves snapshot {acked}, last ack {age} s ago"));
    }
    let message = format!("{name} serves snapshot {acked}, and {snapshot} is current");
    warn("OC012", message, "wait a moment; if it stays, look for a refused resource (OC013)")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(crate) fn hours(seconds: u64) -> String {
    if seconds >= 2 * 3600 { format!("{} h", seconds / 3600) } else { format!("{} min", seconds / 60) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn healthy() -> Pages {
        Pages {
            config: json!({"snapshot": 7, "synced": true, "trustDomain": "mesh.local", "counts": {"Service": 2},
                "sourceErrors": [], "problems": []}),
            sidecars: json!({"sidecars": [
                {"workload": "shop/web", "identity": "spiffe://m/web", "ackedSnapshot": 7, "lastAckAgeMs": 4200},
            ]}),
            asked: vec![Asked {
                name: "web".into(),
                ready: Ok((200, "ready".into())),
                config: json!({"workload": {"name": "shop/web"}, "sync": {"refused": []},
                    "certificate": {"identity": "spiffe://m/web", "expiresInSeconds": 80_000, "lifetimeSeconds": 86_400}}),
            }],
        }
    }

    fn findings(pages: &Pages) -> Vec<(&'static str, Level)> {
        all(pages).into_iter().flat_map(|category| category.checks).map(|check| (check.code, check.level)).collect()
    }

    #[test]
    fn a_healthy_mesh_has_one_line_for_each_part() {
        assert_eq!(findings(&healthy()), [("OC001", Level::Ok), ("OC012", Level::Ok)]);
    }

    #[test]
    fn a_bad_file_a_problem_and_a_refusal_are_found() {
        let mut pages = healthy();
        pages.config["sourceErrors"] = json!(["route.yaml:3:1: unknown field"]);
        pages.config["problems"] = json!([{"object": "HTTPRoute shop/a", "reason": "no such Service"}]);
        pages.asked[0].config["sync"]["refused"] = json!([{"key": "service/shop/web/80", "reason": "too long"}]);
        let found = findings(&pages);
        assert!(found.contains(&("OC002", Level::Error)));
        assert!(found.contains(&("OC003", Level::Warn)));
        assert!(found.contains(&("OC013", Level::Error)));
    }

    #[test]
    fn a_sidecar_that_is_away_behind_or_expiring_is_found() {
        let mut away = healthy();
        away.sidecars = json!({"sidecars": []});
        assert!(findings(&away).contains(&("OC012", Level::Error)));

        let mut behind = healthy();
        behind.sidecars["sidecars"][0]["ackedSnapshot"] = json!(6);
        assert!(findings(&behind).contains(&("OC012", Level::Warn)));

        let mut expiring = healthy();
        expiring.asked[0].config["certificate"]["expiresInSeconds"] = json!(20_000);
        assert!(findings(&expiring).contains(&("OC011", Level::Warn)));

        let mut silent = healthy();
        silent.asked[0].ready = Err("connection refused".into());
        assert!(findings(&silent).contains(&("OC010", Level::Error)));
    }
}
