//! Slow clients: heads that do not end are cut off, what may be slow is waited for, and a neighbour's requests go on. The long form is
//! `cargo xtask attack slow`.

use outrigger_tests::attack::neighbour::beside_a_neighbour;
use outrigger_tests::attack::slow::{Kind, Slow};
use outrigger_tests::{App, Mesh, Reply, enter, wait, yaml};

use super::WEB;

#[test]
fn heads_that_do_not_end_are_cut_off_and_slow_bodies_are_waited_for() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
    let web = mesh.pod_with("web-1", "web", "", &["--request-head-timeout", "3s"]);
    let client = mesh.pod_with("client-1", "client", "", &["--request-head-timeout", "3s"]);
    let outside = mesh.bare("outside");
    let _app = App::http(&web, 8080, |seen| Reply::ok(format!("{} ", seen.path)));

    for (from, address) in [(&outside, format!("{}:8080", web.ip())), (&*client, format!("{WEB}:80"))] {
        beside_a_neighbour(from, &address, || {
            let mut slow = from.run(|| Slow::open(&address, 3 * EACH)).unwrap();
            assert_eq!(Kind::ALL.map(|kind| slow.left(kind)), [EACH; 3], "{address}: all are accepted");
            wait::until_true("no head is left", || {
                slow.drip();
                slow.left(Kind::Head) == 0
            });

            assert_eq!(slow.left(Kind::Body), EACH, "{address}: bodies");
            assert_eq!(slow.left(Kind::Idle), EACH, "{address}: idle connections");
        });
    }
}

const EACH: usize = 100;
