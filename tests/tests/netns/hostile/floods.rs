//! Floods of HTTP/2 frames, written by hand: each ends its connection, costs the app nothing and the sidecar little memory, and a neighbour's
//! requests go on.

use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::attack::floods::FLOODS;
use outrigger_tests::{App, Mesh, Pod, Reply, enter, yaml};

use super::{WEB, resident};
use outrigger_tests::attack::neighbour::beside_a_neighbour;

#[test]
fn floods_through_the_outbound_sidecar_end_their_connection_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    place.flood(false, &format!("{WEB}:80"));
}

#[test]
fn floods_from_outside_the_mesh_end_their_connection_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    let address = format!("{}:8080", place.web.ip());
    place.flood(true, &address);
}

struct Place {
    app: App,
    outside: Namespace,
    client: Pod,
    web: Pod,
    sidecars: [u32; 2],
    _mesh: Mesh,
}

impl Place {
    fn new() -> Option<Self> {
        let sandbox = enter()?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("web", WEB, 80, 8080));
        let mut web = mesh.pod("web-1", "web");
        // A flood's requests are never answered in time to make up for what it does.
        let app = App::http(&web, 8080, |seen| {
            let patience = if seen.path.starts_with("/neighbour") { Duration::ZERO } else { Duration::from_secs(60) };
            Reply::ok(format!("{} ", seen.path)).after(patience)
        });
        let mut client = mesh.pod("client-1", "client");
        let outside = mesh.bare("outside");
        let sidecars = [client.sidecar().id(), web.sidecar().id()];
        Some(Self { app, outside, client, web, sidecars, _mesh: mesh })
    }

    fn flood(&self, from_outside: bool, address: &str) {
        let from = if from_outside { &self.outside } else { &*self.client };
        for flood in FLOODS {
            self.costs_little(
                flood.name,
                1,
                || {
                    let ended = from.run(|| flood.run(address, 1, PATIENCE)).unwrap();
                    assert_eq!(ended, 1, "{}: the connection goes on", flood.name);
                },
                (from, address),
            );
            // What is limited by time need not end many connections, which share the machine.
            self.costs_little(
                flood.name,
                CROWD,
                || from.run(|| flood.run_and_leave(address, CROWD)).unwrap(),
                (from, address),
            );
        }
    }

    fn costs_little(&self, name: &str, connections: u32, flood: impl FnOnce(), (from, address): (&Namespace, &str)) {
        let memory = || self.sidecars.map(resident);
        self.app.forget();
        let before = memory();
        let after = beside_a_neighbour(from, address, || {
            flood();
            memory()
        });

        let reached = self.app.seen().iter().filter(|seen| !seen.path.starts_with("/neighbour")).count();
        // Each connection may have as many streams as a server allows.
        let most = MOST_REQUESTS * connections as usize;
        assert!(reached <= most, "{name}, {connections} connections: {reached} requests reached the app");
        for (before, after) in before.into_iter().zip(after) {
            let most = MOST_KIB + u64::from(connections - 1) * MOST_KIB_EACH;
            assert!(after < before + most, "{name}, {connections} connections: {before} KiB, then {after} KiB");
        }
    }
}

/// A connection that is silent for so long goes on.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many clients flood at once.
const CROWD: u32 = 50;
/// What a flood may have the app do, by each connection.
const MOST_REQUESTS: usize = 1000;
/// What a flood may cost a sidecar, KiB.
const MOST_KIB: u64 = 8 * 1024;
/// And each further connection, KiB: the heads that it may hold (`docs/security/bounds.md`), and its buffers.
const MOST_KIB_EACH: u64 = 1024;
