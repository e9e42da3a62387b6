//! A workload and a peer in network namespaces of their own, joined by a veth pair, with listeners that say who they
//! are and where the connection was going.
//!
//! The namespaces belong to threads and vanish with them. Without root the test runs itself again inside a user
//! namespace; where even that is forbidden it is skipped with a message, or fails if OUTRIGGER_REQUIRE_NETNS is set.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::thread::UnshareFlags;
use socket2::{Domain, Socket, Type};

use crate::orig_dst;

/// The workload's addresses.
pub(super) const WORKLOAD: &str = "10.77.0.2";
pub(super) const WORKLOAD_V6: &str = "fd77::2";
/// The peer's addresses; all other destinations are routed to it, and it answers for the last two.
pub(super) const PEER: &str = "10.77.0.1";
pub(super) const PEER_V6: &str = "fd77::1";
pub(super) const FAR: &str = "192.0.2.9";
pub(super) const FAR_V6: &str = "2001:db8::9";

/// Where the test's own thread is the workload.
pub(super) struct Rig {
    peer: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    /// User ids other than 0 exist here.
    pub(super) has_users: bool,
}

impl Rig {
    /// Runs `work` in the peer's namespace.
    pub(super) fn in_peer<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = mpsc::channel();
        self.peer.send(Box::new(move || drop(answer.send(work())))).expect("the peer's thread runs");
        answered.recv().expect("the peer's work did not panic")
    }
}

/// Runs `body` as the test `name` (its full path) in a fresh pair of namespaces.
pub(super) fn run(name: &str, body: impl FnOnce(&Rig) + Send) {
    thread::scope(|scope| {
        // A thread of its own: the test's might be shared with the tests after it.
        let workload = scope.spawn(|| match unshare_network() {
            Ok(()) => body(&build(std::env::var_os(REEXECUTED).is_none())),
            Err(_) if user_namespaces() && std::env::var_os(REEXECUTED).is_none() => run_as_mapped_root(name),
            Err(error) if std::env::var_os("OUTRIGGER_REQUIRE_NETNS").is_some() => {
                panic!("no network namespace can be made ({error}) and OUTRIGGER_REQUIRE_NETNS is set")
            }
            Err(error) => eprintln!("SKIPPED {name}: it needs network namespaces: {error}"),
        });
        if let Err(panic) = workload.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn run_as_mapped_root(name: &str) {
    let name = name.split_once("::").expect("a path that begins with the crate").1;
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(REEXECUTED, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside a user namespace");
}

fn user_namespaces() -> bool {
    Command::new("unshare").args(["--user", "--map-root-user", "true"]).status().is_ok_and(|status| status.success())
}

#[expect(deprecated, reason = "its successor is unsafe for CLONE_FILES, which is not asked for")]
fn unshare_network() -> rustix::io::Result<()> {
    rustix::thread::unshare(UnshareFlags::NEWNET)
}

fn build(has_users: bool) -> Rig {
    let (peer, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let (id, its_id) = mpsc::channel();
    thread::spawn(move || {
        unshare_network().expect("a second namespace");
        id.send(rustix::thread::gettid()).expect("the rig waits");
        work.into_iter().for_each(|work| work());
    });
    let rig = Rig { peer, has_users };
    let thread = its_id.recv().unwrap();
    ip("link set lo up");
    ip(&format!("link add eth0 type veth peer name eth0 netns {}", thread.as_raw_nonzero()));
    ip(&format!("addr add {WORKLOAD}/24 dev eth0"));
    ip(&format!("addr add {WORKLOAD_V6}/64 dev eth0 nodad"));
    ip("link set eth0 up");
    rig.in_peer(|| {
        ip("link set lo up");
        ip(&format!("addr add {PEER}/24 dev eth0"));
        ip(&format!("addr add {PEER_V6}/64 dev eth0 nodad"));
        ip("link set eth0 up");
        ip(&format!("addr add {FAR}/32 dev lo"));
        ip(&format!("addr add {FAR_V6}/128 dev lo nodad"));
        for port in [25, 80, 5432, 8050] {
            serve(port, &format!("[::]:{port}"), |_| "peer".into());
        }
    });
    ip(&format!("route add default via {PEER}"));
    ip(&format!("-6 route add default via {PEER_V6}"));
    serve(4140, "127.0.0.1:4140", |stream| captured("outbound", stream));
    serve(4140, "[::1]:4140", |stream| captured("outbound", stream));
    serve(4143, "[::]:4143", |stream| captured("inbound", stream));
    for port in [22, 80] {
        serve(port, &format!("[::]:{port}"), |_| "app".into());
    }
    rig
}

/// What a proxy's listener says: its name and what it read as the original destination.
fn captured(name: &str, stream: &TcpStream) -> String {
    match orig_dst::original_destination(stream) {
        Ok(dst) => format!("{name} {dst}"),
        Err(orig_dst::OrigDstError::NotRedirected { listener }) => format!("{name} not redirected {listener}"),
        Err(error) => format!("{name} {error}"),
    }
}

/// Listens in the calling thread's namespace; says `greet` to each connection, then echoes what it gets.
fn serve(port: u16, address: &str, greet: impl Fn(&TcpStream) -> String + Send + 'static) {
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("listen on port {port}: {error}"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let greeting = greet(&stream) + "\n";
            thread::spawn(move || {
                stream.write_all(greeting.as_bytes())?;
                let mut reader = stream.try_clone()?;
                io::copy(&mut reader, &mut stream)
            });
        }
    });
}

/// Dials from the calling thread's namespace and returns who answered.
pub(super) fn dial(address: impl std::fmt::Display) -> String {
    dial_from(&socket(&address.to_string()), &address.to_string())
}

/// As [`dial`], with the socket mark set.
pub(super) fn dial_marked(address: &str, mark: u32) -> String {
    let socket = socket(address);
    socket.set_mark(mark).unwrap();
    dial_from(&socket, address)
}

/// As [`dial`], as another user.
pub(super) fn dial_as(uid: u32, host: &str, port: u16) -> String {
    use std::os::unix::process::CommandExt;
    let script = format!("exec 3<>/dev/tcp/{host}/{port} && read -r -t 10 line <&3 && echo \"$line\"");
    let output = Command::new("bash").args(["-c", &script]).current_dir("/").uid(uid).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An open connection; [`line`] reads its greeting.
pub(super) fn open(address: &str) -> TcpStream {
    let socket = socket(address);
    socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

/// Reads one line.
pub(super) fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte[0] == b'\n' => return Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => text.push(byte[0]),
        }
    }
}

fn dial_from(socket: &Socket, address: &str) -> String {
    let result = socket
        .connect_timeout(&address.parse::<SocketAddr>().unwrap().into(), PATIENCE)
        .and_then(|()| line(&mut &*socket));
    result.unwrap_or_else(|error| format!("error: {:?}", error.kind()))
}

fn socket(address: &str) -> Socket {
    let address: SocketAddr = address.parse().expect("an address with a port");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Runs iproute2 in the calling thread's namespace.
pub(super) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("the tests need iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The whole ruleset of the calling thread's namespace without counters, as nft lists it; `None` without nft.
pub(super) fn nft_list() -> Option<String> {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Feeds rules to nft in the calling thread's namespace.
pub(super) fn nft_load(rules: &str) {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "nft refused:\n{rules}");
}

/// Set in the copy of the test that runs inside a user namespace.
const REEXECUTED: &str = "OUTRIGGER_TEST_IN_USER_NAMESPACE";

/// Far beyond what a busy machine needs; only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
