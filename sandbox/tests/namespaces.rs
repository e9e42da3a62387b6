//! Real namespaces of a real kernel, as the user who runs the tests and, when that is root, as nobody too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use outrigger_sandbox::{Namespace, Network, Sandbox, SandboxError, testing};

#[test]
fn two_namespaces_reach_each_other() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    reach_each_other(&sandbox);
}

#[test]
fn two_namespaces_reach_each_other_without_root() {
    let Some(sandbox) = enter_as_nobody() else { return };
    assert!(!sandbox.has_uids());
    reach_each_other(&sandbox);
}

#[test]
fn a_loopback_is_private_to_its_namespace() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    let network = Network::new(&sandbox).unwrap();
    let (client, server) = (namespace(&network, 2), namespace(&network, 3));
    let listener = server.run(|| TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();

    let seen = client.run(|| TcpStream::connect(addr)).unwrap();

    assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_program_started_in_a_namespace_sees_its_network() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    let network = Network::new(&sandbox).unwrap();
    let namespace = namespace(&network, 2);

    let cat = namespace.start(Command::new("cat").arg("/proc/self/net/dev").stdout(Stdio::piped())).unwrap();

    let links = String::from_utf8(cat.wait_with_output().unwrap().stdout).unwrap();
    assert!(links.contains("eth0"), "{links}");
    assert!(!links.contains("mesh0"), "{links}");
}

#[test]
fn an_async_program_runs_inside_and_is_awaited_outside() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    let network = Network::new(&sandbox).unwrap();
    let namespace = namespace(&network, 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let output = runtime.block_on(async {
        let mut cat = tokio::process::Command::new("cat");
        let child = namespace.start_async(cat.arg("/proc/self/net/dev").stdout(Stdio::piped())).unwrap();
        child.wait_with_output().await.unwrap()
    });

    assert!(String::from_utf8(output.stdout).unwrap().contains("eth0"));
}

#[test]
fn root_has_several_uids_and_a_program_can_take_one() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    if !sandbox.has_uids() {
        return;
    }
    let network = Network::new(&sandbox).unwrap();
    let namespace = namespace(&network, 2);

    let id = namespace.start(Command::new("id").arg("-u").uid(4140).gid(4140).stdout(Stdio::piped())).unwrap();

    assert_eq!(id.wait_with_output().unwrap().stdout, b"4140\n");
}

#[test]
fn a_dropped_namespace_frees_its_address() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    let network = Network::new(&sandbox).unwrap();
    let client = namespace(&network, 2);
    let server = namespace(&network, 3);
    answers(&server, &client, server.v4().into());
    drop(server);

    let server = namespace(&network, 3);

    answers(&server, &client, server.v4().into());
}

#[test]
fn everything_inside_ends_when_the_caller_is_killed() {
    if !testing::available(HELPER) {
        return;
    }
    // The shell is the caller. Whoever holds the write end of its standard output is alive.
    let script = "\"$1\" sandbox-exec enter $$ sh -c 'echo started; sleep 20; echo survived' & wait";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", HELPER]).stdout(Stdio::piped());
    let mut caller = command.spawn().unwrap();
    let mut stdout = caller.stdout.take().unwrap();
    let mut line = [0; 8];
    stdout.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"started\n");

    caller.kill().unwrap();

    assert_eq!(stdout.read(&mut line).unwrap(), 0, "a program of the sandbox outlived its caller");
    caller.wait().unwrap();
}

#[test]
fn the_exit_code_of_the_program_comes_back() {
    if !testing::available(HELPER) {
        return;
    }
    let status = |script: &str| Sandbox::command(Path::new(HELPER), "sh").args(["-c", script]).status().unwrap();
    assert_eq!(status("exit 3").code(), Some(3));
    assert_eq!(status("kill -9 $$").code(), Some(128 + 9));
}

#[test]
fn a_refused_sandbox_says_so() {
    let Some(_sandbox) = enter_as_nobody() else { return };
    // These limits belong to the sandbox's own user namespace.
    fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    fs::write("/proc/sys/user/max_net_namespaces", "0").unwrap();

    let refused = Sandbox::probe(&testing::helper_of(HELPER));

    let Err(SandboxError::Forbidden { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("the kernel refused new namespaces"), "{reason}");
}

#[test]
fn a_program_in_an_inner_namespace_is_not_the_sandboxs_own() {
    let Some(sandbox) = testing::enter(HELPER) else { return };
    let network = Network::new(&sandbox).unwrap();
    let inner = namespace(&network, 2);

    let seen = inner.run(Sandbox::enter).unwrap();

    assert!(matches!(seen, Err(SandboxError::Outside)));
}

fn reach_each_other(sandbox: &Sandbox) {
    let network = Network::new(sandbox).unwrap();
    let (client, server) = (namespace(&network, 2), namespace(&network, 3));
    answers(&server, &client, server.v4().into());
    answers(&server, &server, Ipv4Addr::LOCALHOST.into());
    if network.has_ipv6() {
        answers(&server, &client, server.v6().into());
    }
}

/// Connects from `client` to a server in `server` and reads what it says.
fn answers(server: &Namespace, client: &Namespace, ip: IpAddr) {
    let listener = server.run(|| TcpListener::bind(SocketAddr::new(ip, 0)).unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = server.spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap()).unwrap();

    let mut text = String::new();
    // Far more than a connection takes, far less than a stale neighbour entry lasts.
    let connect = || TcpStream::connect_timeout(&addr, Duration::from_secs(20));
    client.run(|| connect().unwrap().read_to_string(&mut text).unwrap()).unwrap();

    assert_eq!(text, "hello");
    serving.join().unwrap().unwrap();
}

fn namespace(network: &Network, last: u8) -> Namespace {
    let v6 = [0xfd77, 0, 0, 0, 0, 0, 0, u16::from(last)];
    network.namespace(&format!("ns{last}"), [10, 77, 0, last].into(), v6.into()).unwrap()
}

/// Root's tests run as nobody too; anybody else's are without root already.
fn enter_as_nobody() -> Option<Sandbox> {
    let root = fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t");
    if root { testing::enter_as(NOBODY, HELPER) } else { testing::enter(HELPER) }
}

const HELPER: &str = env!("CARGO_BIN_EXE_outrigger-sandbox");
const NOBODY: u32 = 65534;
