//! Too many connections, and too little memory: the sidecar lives, and others are served meanwhile.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outrigger_sandbox::Namespace;
use outrigger_tests::{App, Client, Mesh, Reply, enter, wait, yaml};

use super::WEB;
use outrigger_tests::attack::neighbour::beside_a_neighbour;

/// Another service, which the attacked workload calls itself.
const DB: &str = "10.96.0.20";

fn services() -> String {
    yaml::service("web", WEB, 80, 8080) + &yaml::service("db", DB, 80, 8080)
}

/// Opens connections until it has `count`, or is refused; each sends `bytes`.
fn open(from: &Namespace, address: &str, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let address = address.parse().unwrap();
    let one = |_| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.write_all(bytes).ok()?;
        Some(stream)
    };
    from.run(|| (0..count).filter_map(one).collect()).unwrap()
}

fn ask(from: &Namespace, address: &str) -> u16 {
    from.run(|| Client::connect(address).and_then(|mut client| client.get("/")).map_or(0, |answer| answer.status))
        .unwrap()
}

#[test]
fn strangers_that_say_nothing_take_neither_the_apps_own_connections_nor_those_of_others() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let db = mesh.pod("db-1", "db");
    let _db = App::echo(&db, 8080, "db-1");
    let mut web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |seen| Reply::ok(format!("{} ", seen.path)));
    let client = mesh.pod("client-1", "client");
    let (stranger, other) = (mesh.bare("stranger"), mesh.bare("other"));
    web.restart_sidecar_under("ulimit -n 256", &[]);
    let limits = web.config()["limits"].clone();
    assert_eq!(limits["descriptors"], 256, "{limits}");
    let address = format!("{}:8080", web.ip());

    // A meshed peer has one connection that lasts, and makes fresh ones.
    beside_a_neighbour(&client, &format!("{WEB}:80"), || {
        for (bytes, what) in [
            (&b""[..], "nothing"),
            (b"GET / HT", "half a request line"),
            (b"GET / HTTP/1.1\r\nhost: a\r\n", "half a head"),
            (b"PRI * HTTP/2.0\r\n\r\nSM", "half a preface"),
            (b"\x16\x03\x01\x02\x00\x01\x00", "half a ClientHello"),
        ] {
            let held = open(&stranger, &address, 600, bytes);

            assert_eq!(ask(&web, &format!("{DB}:80")), 200, "{what}: the app's own request");
            assert_eq!(ask(&client, &format!("{WEB}:80")), 200, "{what}: a meshed peer's");
            assert_eq!(ask(&other, &address), 200, "{what}: another stranger's");
            assert_eq!(web.admin("/ready").map(|answer| answer.status), Some(200), "{what}");
            drop(held);
        }
    });

    assert!(web.metric("outrigger_inbound_connections_shed_total", &[]) > 500.0);
    let most = limits["connections"]["inbound"].as_f64().unwrap();
    assert!(web.metric("outrigger_inbound_open_connections", &[]) <= most);
    let log = web.log();
    let spent: Vec<_> = log.lines().filter(|line| line.contains("Too many open files")).collect();
    assert!(spent.is_empty(), "{} times, such as {}", spent.len(), spent[0]);
    assert!(log.lines().filter(|line| line.contains("accept failed") || line.contains("limit reached")).count() < 20);
}

/// A control group of the test's, with a memory limit; removed with the value.
struct Group(PathBuf);

impl Group {
    /// `None`, with a word, where there can be none; where nothing may be skipped that is an error.
    fn new(limit: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = |of: &str| {
            let line = own.lines().find(|line| line.split(':').nth(1) == Some(of))?;
            Some(line.rsplit(':').next()?.trim_start_matches('/').to_owned())
        };
        // Tests count their processes from 1.
        let name = format!("outrigger-test-{:?}", Instant::now()).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let versions =
            [("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("", "/sys/fs/cgroup", "memory.max")];
        let made = versions.into_iter().find_map(|(of, top, file)| {
            let group = Self(Path::new(top).join(path(of)?).join(&name));
            fs::create_dir(&group.0).ok()?;
            // The kernel makes the file: one that is not there must not be made.
            let mut file = fs::File::options().write(true).open(group.0.join(file)).ok()?;
            file.write_all(limit.to_string().as_bytes()).ok().map(|()| group)
        });
        if made.is_none() {
            let must = std::env::var_os("OUTRIGGER_REQUIRE_NETNS").is_some_and(|value| value == "1");
            assert!(!must, "no control group with a memory limit can be made here");
            eprintln!("skipped: no control group with a memory limit can be made here");
        }
        made
    }

    /// How often the kernel has killed something for want of memory.
    fn kills(&self) -> u64 {
        let text = ["memory.oom_control", "memory.events"]
            .into_iter()
            .find_map(|file| fs::read_to_string(self.0.join(file)).ok())
            .unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes have ended before; the kernel may take a moment to notice.
        wait::until_true("the control group is gone", || fs::remove_dir(&self.0).is_ok() || !self.0.exists());
    }
}

#[test]
fn a_sidecar_with_little_memory_sheds_what_is_too_much_and_lives() {
    let Some(sandbox) = enter() else { return };
    // The long form: `OUTRIGGER_TEST_MEMORY=67108864 OUTRIGGER_TEST_SLOW_CLIENTS=9000 OUTRIGGER_TEST_HOSTS=100000`.
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let limit = setting("OUTRIGGER_TEST_MEMORY").unwrap_or(LIMIT as usize) as u64;
    let slow = setting("OUTRIGGER_TEST_SLOW_CLIENTS").unwrap_or(3000);
    let hosts = setting("OUTRIGGER_TEST_HOSTS");
    let Some(group) = Group::new(limit) else { return };
    let mut mesh = Mesh::start(sandbox, &services());
    let mut web = mesh.pod("web-1", "web");
    let _app = App::http(&web, 8080, |seen| Reply::ok(format!("{} ", seen.path)));
    let client = mesh.pod("client-1", "client");
    let stranger = mesh.bare("stranger");
    let first = format!("echo $$ > {}/cgroup.procs", group.0.display());
    // What is logged lies in memory that counts.
    web.restart_sidecar_under(&first, &[("--access-log", "off"), ("--log-filter", "info")]);
    wait::until_true("the limit is known", || web.config()["limits"]["memoryLimitBytes"] == limit);
    let address = format!("{}:8080", web.ip());

    // Meshed requests go on through all of it.
    beside_a_neighbour(&client, &format!("{WEB}:80"), || {
        let body =
            [b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n".to_vec(), vec![b'x'; 16_000]].concat();
        let head = [&b"GET / HTTP/1.1\r\nhost: a\r\nx: "[..], &[b'x'; 8000]].concat();
        let mut held = Vec::new();
        for bytes in [&body[..], &head, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b""] {
            held.extend(open(&stranger, &address, slow / 4, bytes));
            assert!(web.sidecar().alive(), "after {} bytes of {} clients", bytes.len(), held.len());
        }
        let most = if hosts.is_some() { 20 * HOSTS_TIME } else { HOSTS_TIME };
        hosts_of(&stranger, &address, hosts.unwrap_or(20_000), most);
        drop(held);
    });

    assert!(web.sidecar().alive());
    assert_eq!(group.kills(), 0);
    wait::until_true("memory is no longer short", || web.config()["limits"]["overload"] == "normal");
    assert_eq!(ask(&stranger, &address), 200, "and strangers are served again");
    let log = web.log();
    let levels: Vec<_> = log.lines().filter(|line| line.contains("memory is ")).collect();
    let shed = levels.iter().any(|line| line.contains("shedding load"));
    assert!(limit != LIMIT || shed, "it was not tried: {levels:?}");
    assert!(levels.len() < 200, "{} lines", levels.len());
}

/// Asks for many hosts, a request each, on a few connections; what is refused is asked no more.
fn hosts_of(from: &Namespace, address: &str, count: usize, most: Duration) {
    let begin = Instant::now();
    let ask = |client: &mut Option<Client>, n: usize| {
        let host = format!("host-{n}.example.org");
        let open = client.take().or_else(|| Client::connect(address).ok());
        *client = open.and_then(|mut open| {
            open.send("GET", &format!("/{n}"), &[("host", &host)], b"").ok().filter(|answer| answer.status == 200)?;
            Some(open)
        });
    };
    from.run(|| {
        let mut client = None;
        for n in 0..count {
            ask(&mut client, n);
            // A busy machine tries fewer.
            if begin.elapsed() > most {
                break;
            }
        }
    })
    .unwrap();
}

/// So little that it is not enough for 3,000 slow clients.
const LIMIT: u64 = 32 << 20;
const HOSTS_TIME: Duration = Duration::from_secs(12);
