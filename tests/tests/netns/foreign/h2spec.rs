//! h2spec against both sidecars: what our HTTP/2 answers to peers that err, at either edge of the mesh.

use std::fs::read_to_string;
use std::path::Path;

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::h2spec;
use outrigger_tests::{App, Mesh, yaml};

use super::{enter_with, output};

const DECLARED: &str = "10.96.0.40";
const DETECTED: &str = "10.96.0.41";

/// A strict run has so many cases.
const CASES: usize = 146;

/// A connection that begins with another preface is none of HTTP/2: where nobody has declared it, it goes to the app as bytes, whose answer is
/// 400, as to HTTP/1, where h2spec waits for GOAWAY. It sends this case.
const PREFACE: &str = "http2/3.5: Sends invalid connection preface";

#[test]
fn both_sidecars_pass_h2spec() {
    let Some(sandbox) = enter_with([h2spec::client("", 1, Path::new(""))]) else { return };
    let declared = yaml::service_with("declared", DECLARED, 80, 8081, "      appProtocol: kubernetes.io/h2c\n");
    let services = declared.replace("app: declared", "app: web")
        + &yaml::service("detected", DETECTED, 80, 8080).replace("app: detected", "app: web");
    let mut mesh = Mesh::start(sandbox, &services);
    let web = mesh.pod("web-1", "web");
    let apps = [8080, 8081].map(|port| App::echo(&web, port, "web-1"));
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");
    let mut wrong = Vec::new();

    let pod = web.ip().to_string();
    for (from, host, port, expected) in [
        (&*client, DECLARED, 80, &[][..]),
        (&*client, DETECTED, 80, &[PREFACE]),
        (&*client, &*pod, 8080, &[PREFACE]),
        (&outside, &*pod, 8080, &[PREFACE]),
        (&outside, &*pod, 8081, &[]),
    ] {
        let count = || apps.iter().map(App::count).sum::<usize>();
        let before = count();
        let failed = run(&mesh, from, host, port);
        let name = format!("{host} from {}", from.name());
        wrong.extend((failed != expected).then(|| format!("{name}: failed {failed:#?}, expected {expected:#?}")));
        assert!(count() > before, "{name}: what is right reaches the app");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs all cases; returns those that failed.
fn run(mesh: &Mesh, from: &Namespace, host: &str, port: u16) -> Vec<String> {
    let report = mesh.folder().join("h2spec.xml");
    let told = output(from, &h2spec::client(host, port, &report).unwrap());
    let report = read_to_string(&report).unwrap_or_else(|error| panic!("{host}: {error}: {told:?}"));
    let mut cases = 0;
    let mut failed = Vec::new();
    for case in report.split("<testcase ").skip(1) {
        cases += 1;
        let attribute = |name: &str| Some(case.split_once(&format!("{name}=\""))?.1.split_once('"')?.0);
        if case.contains("<failure") || case.contains("<error") || case.contains("<skipped") {
            let name = [attribute("package"), attribute("classname")].map(Option::unwrap_or_default);
            failed.push(name.join(": "));
        }
    }
    assert_eq!(cases, CASES, "{report}");
    failed
}
