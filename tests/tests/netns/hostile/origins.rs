//! The long list of desync cases (`outrigger_tests::attack`), against apps of four makes, which err in ways of their own. What counts is what an
//! app recorded, whoever wrote the bytes: a client with a sidecar, one without, or a peer with a certificate of the mesh that keeps to no rule.

use std::net::TcpStream;

use outrigger_identity::Alpn;
use outrigger_sandbox::Namespace;
use outrigger_tests::attack::desync::{self, Answers, Case, Connection, Verdict};
use outrigger_tests::attack::intruder::Intruder;
use outrigger_tests::attack::origin::{Make, Origin};
use outrigger_tests::attack::{http1, http2};
use outrigger_tests::{Mesh, Pod, enter, wait, yaml};

use outrigger_tests::attack::neighbour::beside_a_neighbour;

#[test]
fn no_app_sees_a_request_that_its_client_did_not_send() {
    for make in Make::ALL {
        if let Some(Err(error)) = make.command(1) {
            assert!(std::env::var_os("OUTRIGGER_REQUIRE_PEERS").is_none(), "{error}");
            eprintln!("SKIPPED: {error}");
            return;
        }
    }
    let Some(sandbox) = enter() else { return };
    let services: String = (0..4).map(service).collect();
    let mut mesh = Mesh::start(sandbox, &services);
    let web = mesh.pod("web-1", "web");
    let client = mesh.pod("client-1", "client");
    let over_http2 = mesh.pod_with("client-2", "client", "", &["--wire", "http2"]);
    let outside = mesh.bare("outside");
    let [inner, wrapped] = [Alpn::Http1, Alpn::Http1InHttp2].map(|alpn| Intruder::of(&mesh, alpn));
    let mut origins: Vec<Origin> =
        (0..).zip(Make::ALL).map(|(n, make)| Origin::start(make, &web, mesh.folder(), port(n))).collect();

    let mut wrong = Vec::new();
    for (n, origin) in (0..).zip(&mut origins) {
        let (service, pod) = (format!("{}:80", address(n)), format!("{}:{}", web.ip(), port(n)));
        let (service, pod) = (&*service, &*pod);
        let plain = |at: &str| TcpStream::connect(at).map(|stream| Box::new(stream) as Box<dyn Connection>);
        let mut attack = Attack { origin, wrong: &mut wrong, web: &web };
        let lines = http1::cases();
        attack.run("a client with a sidecar", &client, service, &lines, http1::answers, &|| plain(service));
        attack.run("a client with a sidecar, over HTTP/2", &over_http2, service, &lines, http1::answers, &|| {
            plain(service)
        });
        attack.run("a client without a sidecar", &outside, pod, &lines, http1::answers, &|| plain(pod));
        let over = |intruder: &Intruder| intruder.connect(pod).map(|tls| Box::new(tls) as Box<dyn Connection>);
        attack.run("an intruder", &outside, pod, &lines, http1::answers, &|| over(&inner));
        attack.run("an intruder over HTTP/2", &outside, pod, &http2::cases(), http2::answers, &|| over(&wrapped));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

struct Attack<'a> {
    origin: &'a mut Origin,
    wrong: &'a mut Vec<String>,
    web: &'a Pod,
}

impl Attack<'_> {
    fn run(
        &mut self,
        who: &str,
        from: &Namespace,
        address: &str,
        cases: &[Case],
        answers: Answers,
        dial: &desync::Dial<'_>,
    ) {
        self.origin.seen();
        let hung = beside_a_neighbour(from, address, || from.run(|| desync::send(cases, answers, dial)).unwrap());
        wait::until_true("nothing is under way any more", || self.web.config()["inFlight"] == 0);
        let by_case = desync::by_case(self.origin.seen());
        let place = format!("{}, {who}", self.origin.make.name());
        self.wrong.extend(hung.iter().map(|name| format!("{place}: {name}: the connection outlived its client")));
        if let Some(strange) = by_case.get("") {
            self.wrong.push(format!("{place}: requests of no case: {strange:?}"));
        }
        for case in cases {
            let seen = by_case.get(&case.id).map_or(&[][..], Vec::as_slice);
            match case.judge(seen) {
                // What is plain HTTP must arrive where the app forgives nothing, too.
                Verdict::Rejected if self.origin.make == Make::Strict && seen.len() < case.least => {
                    self.wrong.push(format!(
                        "{place}: {}: only {} of {:?} arrived",
                        case.name,
                        seen.len(),
                        case.reading
                    ));
                }
                Verdict::Forwarded | Verdict::Rejected => {}
                Verdict::Mended(told) | Verdict::Smuggled(told) => {
                    self.wrong.push(format!("{place}: {}: {told}", case.name))
                }
            }
        }
    }
}

fn service(n: u16) -> String {
    let name = format!("web-{n}");
    yaml::service_with(&name, &address(n), 80, port(n), "      appProtocol: http\n")
        .replace(&format!("app: {name}"), "app: web")
}

fn address(n: u16) -> String {
    format!("10.96.1.{n}")
}

fn port(n: u16) -> u16 {
    8080 + n
}
