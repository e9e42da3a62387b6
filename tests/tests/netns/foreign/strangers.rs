//! What one client of a gRPC server does is not felt by another, and the limits that a client meets are the server's own.

use std::net::SocketAddr;

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::calls;
use outrigger_tests::wait::until_true;
use outrigger_tests::{Mesh, Pod, Process, yaml};

use super::{enter_with, every_address, fails, serve, succeeds};

const CALLS: &str = "10.96.0.40:80";
const PORT: u16 = 9000;

/// A meshed server, two meshed clients and one without a sidecar.
struct Shop {
    clients: [Pod; 2],
    outside: Namespace,
    server: Pod,
    _process: Process,
    mesh: Mesh,
}

impl Shop {
    fn open(flags: &[&str]) -> Option<Self> {
        let sandbox = enter_with([calls::server(every_address(PORT), flags)])?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("calls", "10.96.0.40", 80, PORT));
        let server = mesh.pod("calls-1", "calls");
        let process = serve(&mesh, &server, PORT, calls::server(every_address(PORT), flags));
        let clients = ["client-1", "client-2"].map(|name| mesh.pod(name, "client"));
        let outside = mesh.bare("outside");
        Some(Self { clients, outside, server, _process: process, mesh })
    }

    /// Who calls, and where.
    fn ways(&self) -> [(&Namespace, SocketAddr); 2] {
        [(&self.clients[0], CALLS.parse().unwrap()), (&self.outside, (self.server.ip(), PORT).into())]
    }

    /// Has a client keep `many` streams open.
    fn hold(&self, (at, to): (&Namespace, SocketAddr), many: usize) -> Process {
        let name = format!("hold-{}", at.name());
        let mut process = Process::start(&name, at, self.mesh.folder(), &mut calls::client(to, many, "hold").unwrap());
        until_true("the streams are open", || {
            assert!(process.alive(), "{}", process.output());
            process.output().contains("holds")
        });
        process
    }
}

#[test]
fn streams_that_nobody_reads_hold_up_no_other_call() {
    let Some(shop) = Shop::open(&[]) else { return };

    for (from, to) in shop.ways() {
        for many in [6, 40] {
            succeeds(from, calls::client(to, many, "unread"));
        }
    }
}

#[test]
fn a_head_over_the_limit_of_the_app_is_refused_and_ends_no_other_call() {
    let Some(shop) = Shop::open(&["-head=4096"]) else { return };
    let mut held = shop.ways().map(|way| shop.hold(way, 1));

    for (from, to) in shop.ways().into_iter().chain([(&*shop.clients[1], CALLS.parse().unwrap())]) {
        for size in [5_000, 20_000] {
            let said = fails(from, calls::client(to, size, "head"));
            assert!(said.is_empty(), "{said}");
        }
        succeeds(from, calls::client(to, 1_000, "head"));
    }

    for process in &mut held {
        assert!(process.alive(), "{}", process.output());
    }
}

#[test]
fn a_channel_has_thousands_of_streams_and_gives_them_up_together() {
    let Some(shop) = Shop::open(&[]) else { return };

    for (from, to) in shop.ways() {
        succeeds(from, calls::client(to, 1_500, "watch"));
    }
}

#[test]
fn a_client_that_uses_up_the_streams_of_an_app_leaves_others_theirs() {
    let Some(shop) = Shop::open(&["-streams=3"]) else { return };
    let mut held = shop.ways().map(|way| shop.hold(way, 3));

    for (from, to) in shop.ways().into_iter().chain([(&*shop.clients[1], CALLS.parse().unwrap())]) {
        succeeds(from, calls::client(to, 1, "call"));
    }
    for process in &mut held {
        assert!(process.alive(), "{}", process.output());
    }
}
