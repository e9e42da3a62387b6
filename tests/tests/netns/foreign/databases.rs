//! Protocols that are not HTTP, with nothing declared: clients that speak first (Redis, PostgreSQL) and servers that do
//! (MariaDB, SMTP).

use std::net::{Ipv4Addr, SocketAddr};

use outrigger_sandbox::Namespace;
use outrigger_tests::peers::{mariadb, postgres, redis, smtp};
use outrigger_tests::{Mesh, Pod, Process, yaml};

use super::{Peer, connections, enter_with, every_address, output, parsed, serve, succeeds};

const DB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

/// One server in a meshed pod behind a service, the same in an unmeshed one, and a client of each sort.
struct Shop {
    port: u16,
    server: Pod,
    bare_server: Namespace,
    client: Pod,
    bare_client: Namespace,
    _processes: [Process; 2],
    _mesh: Mesh,
}

impl Shop {
    /// `server` makes the program, given a name and where it is to listen.
    fn open(
        peers: impl IntoIterator<Item = Peer>,
        port: u16,
        server: impl Fn(&Mesh, &str, SocketAddr) -> Peer,
    ) -> Option<Self> {
        let sandbox = enter_with(peers)?;
        let mut mesh = Mesh::start(sandbox, &yaml::service("db", &DB.to_string(), port, port));
        let pod = mesh.pod("db-1", "db");
        let bare_server = mesh.bare("bare-db");
        let client = mesh.pod("client-1", "client");
        let bare_client = mesh.bare("bare-client");
        let start = |at: &Namespace| serve(&mesh, at, port, server(&mesh, at.name(), every_address(port)));
        let processes = [start(&pod), start(&bare_server)];
        Some(Self { port, server: pod, bare_server, client, bare_client, _processes: processes, _mesh: mesh })
    }

    fn service(&self) -> SocketAddr {
        (DB, self.port).into()
    }

    /// Who dials what: meshed to the service and to the pod, unmeshed to meshed, meshed to unmeshed.
    fn ways(&self) -> [(&Namespace, SocketAddr); 4] {
        let (pod, bare) = ((self.server.ip(), self.port).into(), (self.bare_server.v4(), self.port).into());
        [(&self.client, self.service()), (&self.client, pod), (&self.bare_client, pod), (&self.client, bare)]
    }

    /// Asserts that each way was taken by bytes that nobody took for HTTP: at least `each` connections of each.
    fn assert_carried_as_bytes(&self, each: f64) {
        for (pod, direction, tls, least) in [
            (&self.client, "outbound", "mutual", 2.0 * each),
            (&self.client, "outbound", "none", each),
            (&self.server, "inbound", "mutual", 2.0 * each),
            (&self.server, "inbound", "none", each),
        ] {
            let count = connections(pod, direction, tls);
            assert!(count >= least, "{}: {count} {direction} connections, TLS {tls}", pod.name());
        }
        assert_eq!((parsed(&self.client), parsed(&self.server)), (0.0, 0.0));
    }
}

#[test]
fn redis_answers_and_takes_load() {
    let peers = [redis::server(every_address(1)), redis::benchmark(every_address(1), 1)];
    let Some(shop) = Shop::open(peers, 6379, |_, _, listen| redis::server(listen)) else { return };

    for (from, to) in shop.ways() {
        assert_eq!(succeeds(from, redis::client(to, &["PING"])), "PONG\n");
        assert_eq!(succeeds(from, redis::client(to, &["SET", "key", &"x".repeat(100_000)])), "OK\n");
        assert_eq!(succeeds(from, redis::client(to, &["GET", "key"])).trim().len(), 100_000);
        assert!(!output(from, &redis::client(to, &["NOSUCH"]).unwrap()).status.success());
    }
    let figures = succeeds(&shop.client, redis::benchmark(shop.service(), 20_000));

    assert!(figures.contains("\"SET\"") && figures.contains("\"GET\""), "{figures}");
    shop.assert_carried_as_bytes(4.0);
}

#[test]
fn postgres_answers_queries_and_turns_to_tls_in_the_middle() {
    let peers = [postgres::client(every_address(1), "")];
    let server = |mesh: &Mesh, name: &str, listen: SocketAddr| {
        let data = mesh.folder().join(format!("postgres-{name}"));
        let mut server = postgres::server(&data, listen)?;
        let key = rcgen::generate_simple_self_signed(["db".to_owned()]).unwrap();
        std::fs::write(data.join("server.crt"), key.cert.pem()).unwrap();
        std::fs::write(data.join("server.key"), key.signing_key.serialize_pem()).unwrap();
        let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(data.join("server.key"), secret).unwrap();
        server.args(["-c", "ssl=on"]);
        Ok(server)
    };
    let Some(shop) = Shop::open(peers, 5432, server) else { return };

    for (from, to) in shop.ways() {
        for mode in ["disable", "require"] {
            let sql = "select repeat('x', 1000000), ssl from pg_stat_ssl where pid = pg_backend_pid()";
            let mut client = postgres::client(to, sql).unwrap();
            client.env("PGSSLMODE", mode);
            let answer = succeeds(from, Ok(client));
            let encrypted = if mode == "require" { "|t" } else { "|f" };
            assert!(answer.trim().len() == 1_000_002 && answer.trim().ends_with(encrypted), "{mode}: {}", answer.len());
        }
    }

    shop.assert_carried_as_bytes(2.0);
}

#[test]
fn mariadb_greets_first_with_nothing_declared() {
    let peers = [mariadb::server("/".as_ref(), every_address(1)), mariadb::client(every_address(1), "")];
    let server = |mesh: &Mesh, name: &str, listen: SocketAddr| {
        let data = mesh.folder().join(format!("mariadb-{name}"));
        std::fs::create_dir(&data).unwrap();
        mariadb::server(&data, listen)
    };
    let Some(shop) = Shop::open(peers, 3306, server) else { return };

    for (from, to) in shop.ways() {
        let sql = "create or replace database t; create table t.t (a longblob); \
                   insert into t.t values (repeat('x', 1000000)); select a from t.t";
        assert_eq!(succeeds(from, mariadb::client(to, sql)).trim().len(), 1_000_000);
    }

    shop.assert_carried_as_bytes(1.0);
}

#[test]
fn smtp_greets_first_with_nothing_declared() {
    let peers = [smtp::server(every_address(1)), smtp::client(every_address(1), "/".as_ref())];
    let Some(shop) = Shop::open(peers, 25, |_, _, listen| smtp::server(listen)) else { return };
    let mail = shop.client.folder().join("mail");
    std::fs::write(&mail, format!("Subject: a long letter\r\n\r\n{}", "0123456789\r\n".repeat(20_000))).unwrap();

    for (from, to) in shop.ways() {
        succeeds(from, smtp::client(to, &mail));
    }

    shop.assert_carried_as_bytes(1.0);
    let heard = shop._processes.each_ref().map(|server| server.output().matches("Subject: a long letter").count());
    assert_eq!(heard, [3, 1]);
}
