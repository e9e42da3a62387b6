//! Runs a table in network namespaces: the control plane on a folder, each workload a pod with a sidecar.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::ask::{Answer, Question};
use super::case::{Case, parse};
use super::run::{self, World};
use super::world::{APPS, namespace, place, services};
use super::{Group, yaml};
use crate::peers::test_app;
use crate::{Mesh, Pod, Process, enter, wait};

/// Runs the group; without namespaces the test is skipped.
///
/// # Panics
/// When a case fails: with all that do.
pub fn check(group: &Group) {
    let program = test_app::command("ask").expect("the test application is built");
    let Some(sandbox) = enter() else { return };
    let services = services(group);
    let mut manifest = String::new();
    for (number, service) in services.iter().enumerate() {
        let (v4, v6) = cluster_ips(number);
        manifest.push_str(&service.yaml(&format!("  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n")));
    }
    let (oldest, routes) = yaml::manifests(group.routes);
    let dated = "metadata:\n  creationTimestamp: 2020-01-01T00:00:00Z\n";
    let mesh = Mesh::start(sandbox, &(manifest + &oldest.replace("metadata:\n", dated) + &routes));
    let names = services.iter().map(|service| (service.name, service.namespace)).collect();
    let world = Namespaces::new(mesh, names, program);
    let cases = parse(group.cases);
    let wrong = run::run(&world, &cases.iter().collect::<Vec<&Case>>());
    let wrong: Vec<String> = wrong.into_iter().map(|(_, why)| why).collect();
    assert!(
        wrong.is_empty(),
        "{} failures in the {} cases of {}:\n{}",
        wrong.len(),
        cases.len(),
        group.name,
        wrong.join("\n")
    );
}

struct Namespaces {
    pods: Vec<Pod>,
    _apps: Vec<Process>,
    services: Vec<(&'static str, &'static str)>,
    program: Command,
    _mesh: Mesh,
}

impl Namespaces {
    fn new(mut mesh: Mesh, services: Vec<(&'static str, &'static str)>, program: Command) -> Self {
        let (mut pods, mut apps) = (Vec::new(), Vec::new());
        for app in APPS {
            let name = format!("{app}-1");
            let pod = mesh.pod_elsewhere(namespace(app), &name, app);
            let mut command = Command::new(program.get_program());
            let server = pod.start_program("app", command.arg("serve").env("POD_NAME", name));
            apps.push(server);
            pods.push(pod);
        }
        for (pod, app) in pods.iter().zip(&apps) {
            wait::until_true("the application listens", || app.output().contains(" serves http "));
            for port in [8080, 8443, 9091] {
                let connects = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
                wait::until_true("the application answers", || pod.run_in(connects));
            }
        }
        Self { pods, _apps: apps, services, program, _mesh: mesh }
    }

    fn pod(&self, app: &str) -> &Pod {
        &self.pods[place(app)]
    }
}

impl World for Namespaces {
    fn address(&self, host: &str, port: u16, v6: bool) -> String {
        if let Some(app) = host.strip_prefix("pod.") {
            return format!("{}:{port}", self.pod(app).ip());
        }
        let (name, namespace) = host.split_once('.').unwrap_or((host, "shop"));
        let number = self.services.iter().position(|service| *service == (name, namespace));
        let (v4, v6_address) = cluster_ips(number.unwrap_or_else(|| panic!("no Service is named {host}")));
        if v6 { format!("[{v6_address}]:{port}") } else { format!("{v4}:{port}") }
    }

    fn ask(&self, from: &str, questions: &[Question]) -> Vec<Answer> {
        let mut command = Command::new(self.program.get_program());
        command.arg("ask").stdin(Stdio::piped()).stdout(Stdio::piped());
        let client = self.pod(if from == "other" { "o1" } else { "client" });
        let mut child = client.start(&mut command).expect("the client starts");
        let lines = run::lines(questions);
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(lines.as_bytes()).expect("the client reads");
        drop(stdin);
        run::answers(&child.wait_with_output().expect("the client ends"), questions.len())
    }

    fn has_v6(&self) -> bool {
        true
    }
}

fn cluster_ips(number: usize) -> (String, String) {
    (format!("10.96.0.{}", number + 10), format!("fd96::{:x}", number + 10))
}
