//! `docs/reference/security.md` beside what the charts make: every right and every port, no more and no less.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::Path;

use outrigger_cli::chart::{MESH, Release};
use serde_json::{Value, json};

#[test]
fn every_right_of_the_charts_is_in_the_page_and_the_other_way_round() {
    let page = page();
    for (account, section) in [("outrigger-control-plane", "Control plane"), ("outrigger-injector", "Injector")] {
        let section = page.split(&format!("### {section}\n")).nth(1).unwrap();
        let section = section.split("\n#").next().unwrap();
        let mut written = BTreeSet::new();
        for row in rows(section).filter(|row| row.len() == 5 && row[0] != "API group") {
            let group = row[0].replace("(core)", "");
            assert!(row[4].len() > 5, "{row:?} needs a reason");
            all(&mut written, &group, &words(row[1]), &words(row[2]), &words(row[3]));
        }
        let mut rendered = BTreeSet::new();
        for role in objects().iter().filter(|object| is_role_of(object, account)) {
            for rule in role["rules"].as_array().unwrap() {
                let names = rule.get("resourceNames").map_or_else(|| vec!["all".to_owned()], texts);
                for group in texts(&rule["apiGroups"]) {
                    all(&mut rendered, &group, &texts(&rule["resources"]), &names, &texts(&rule["verbs"]));
                }
            }
        }
        assert!(rendered.len() > 1 || account == "outrigger-injector", "{account}: {rendered:?}");
        assert_eq!(written, rendered, "docs/reference/security.md and the role of {account}");
    }
}

#[test]
fn every_port_of_the_charts_and_of_an_injected_pod_is_in_the_page() {
    let page = page();
    let section = page.split("## Ports\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let written: BTreeSet<u64> = rows(section).filter_map(|row| row[0].parse().ok()).collect();
    let mut used = BTreeSet::new();
    objects().iter().for_each(|object| ports(object, &mut used));
    // What the sidecar binds by default; a pod declares only some of them.
    let sidecar = outrigger_sidecar_ports();
    used.extend(sidecar);

    assert_eq!(written, used, "docs/reference/security.md and the charts");
}

/// The ports in the settings' page, which is generated from the code.
fn outrigger_sidecar_ports() -> Vec<u64> {
    let text = read("docs/reference/settings.md");
    let run = text.split("### outrigger-sidecar run").nth(1).unwrap().split("\n### ").next().unwrap().to_owned();
    let mut ports: Vec<u64> = rows(&run)
        .filter(|row| row[0].contains("port") || row[0].contains("--admin"))
        .filter_map(|row| row[2].trim_matches('`').rsplit(':').next()?.parse().ok())
        .collect();
    assert!(ports.len() >= 4, "{ports:?}");
    // The injector sets these.
    ports.extend([4192, 4194]);
    ports
}

/// Numbers wherever an object names a port.
fn ports(value: &Value, found: &mut BTreeSet<u64>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if matches!(name.as_str(), "containerPort" | "port" | "targetPort") {
                    found.extend(field.as_u64());
                }
                ports(field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| ports(item, found)),
        _ => {}
    }
}

type Rights = BTreeSet<[String; 4]>;

fn all(rights: &mut Rights, group: &str, resources: &[String], names: &[String], verbs: &[String]) {
    for resource in resources {
        for name in names {
            for verb in verbs {
                rights.insert([group.to_owned(), resource.clone(), name.clone(), verb.clone()]);
            }
        }
    }
}

fn is_role_of(object: &Value, account: &str) -> bool {
    object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role")) && object["metadata"]["name"] == account
}

fn objects() -> Vec<Value> {
    let release =
        Release { name: "outrigger".into(), namespace: "outrigger-system".into(), service: "outrigger".into() };
    // With all that opens a port.
    let values =
        json!({"networkPolicy": {"monitoringNamespaces": ["monitoring"]}, "serviceMonitor": {"enabled": true}});
    MESH.render(&release, &[values]).unwrap()
}

/// The rows of all tables, cell by cell.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect()))
}

fn words(cell: &str) -> Vec<String> {
    cell.split(',').map(|word| word.trim().trim_matches('`').to_owned()).collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn page() -> String {
    read("docs/reference/security.md")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
