//! Runs all tables in Kubernetes, in one pair of namespaces.

use std::io::Write as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ask::{Answer, Question};
use super::case::{Case, parse};
use super::run::{self, World};
use super::world::{APPS, namespace, place, services};
use super::{Group, yaml};
use crate::cluster::{Alone, Cluster, Space, Workload};

/// Runs groups, one after the other.
///
/// # Panics
/// When a case fails: with all that do.
pub fn check(cluster: &'static Cluster, alone: &Alone, groups: &[Group]) {
    let pair = Pair::deployed(cluster, alone);
    let mut failed = Vec::new();
    for group in groups {
        failed.extend(pair.run(group));
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

struct Pair {
    shop: Space,
    other: Space,
    /// By app.
    addresses: Vec<String>,
}

impl Pair {
    fn deployed(cluster: &'static Cluster, alone: &Alone) -> Self {
        let (shop, other) = (Space::within(cluster, alone), Space::within(cluster, alone));
        let mut pair = Self { shop, other, addresses: Vec::new() };
        for app in APPS {
            pair.of(namespace(app)).apply(&Workload::new(app).yaml());
        }
        for app in APPS {
            pair.of(namespace(app)).rolled_out(&format!("deployment/{app}"));
            let pod = &pair.of(namespace(app)).pods(app)[0];
            pair.addresses.push(pod["status"]["podIP"].as_str().unwrap_or_default().to_owned());
        }
        pair
    }

    fn of(&self, namespace: &str) -> &Space {
        if namespace == "other" { &self.other } else { &self.shop }
    }

    /// A manifest of a table in the namespaces that there are.
    fn placed(&self, manifest: &str) -> String {
        let mut placed = manifest.to_owned();
        for namespace in ["shop", "other"] {
            // In a block, or inside or at the end of braces.
            for end in ["\n", ",", "}"] {
                let there = format!("namespace: {}{end}", self.of(namespace).name());
                placed = placed.replace(&format!("namespace: {namespace}{end}"), &there);
            }
        }
        placed
    }

    /// The cases that fail after all the time that a cluster may take.
    fn run(&self, group: &Group) -> Vec<String> {
        let services: String = services(group).iter().map(|service| service.yaml("")).collect();
        let (oldest, routes) = yaml::manifests(group.routes);
        let cluster = self.shop.cluster();
        cluster.apply(&self.placed(&(services + &oldest)));
        if !oldest.is_empty() {
            // Objects have their age in whole seconds.
            sleep(Duration::from_millis(1100));
        }
        if !routes.is_empty() {
            cluster.apply(&self.placed(&routes));
        }
        let cases = parse(group.cases);
        let start = Instant::now();
        let mut wrong: Vec<(&Case, String)> = cases.iter().map(|case| (case, String::new())).collect();
        while !wrong.is_empty() && start.elapsed() < LIMIT {
            let mut again: Vec<&Case> = wrong.iter().map(|(case, _)| *case).collect();
            // A case that fails with several clients is asked once more by each.
            again.dedup_by(|one, other| std::ptr::eq(*one, *other));
            wrong = run::run(self, &again);
        }
        let objects = self.placed(&(oldest + "\n" + &routes));
        cluster.remove(&objects);
        wrong.into_iter().map(|(_, why)| format!("{}: {why}", group.name)).collect()
    }
}

impl World for Pair {
    fn address(&self, host: &str, port: u16, _v6: bool) -> String {
        if let Some(app) = host.strip_prefix("pod.") {
            return format!("{}:{port}", self.addresses[place(app)]);
        }
        let (name, namespace) = host.split_once('.').unwrap_or((host, "shop"));
        format!("{name}.{}:{port}", self.of(namespace).name())
    }

    fn ask(&self, from: &str, questions: &[Question]) -> Vec<Answer> {
        let client = if from == "other" { "deployment/o1" } else { "deployment/client" };
        let mut command = self.of(from).kubectl(["exec", "-i", client, "-c", "app", "--", "/test-app", "ask"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(run::lines(questions).as_bytes()).expect("kubectl reads");
        drop(stdin);
        run::answers(&child.wait_with_output().expect("kubectl ends"), questions.len())
    }

    fn has_v6(&self) -> bool {
        false
    }
}

const LIMIT: Duration = Duration::from_secs(20);
