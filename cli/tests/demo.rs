//! The demo, run whole: in namespaces and without, to its end and cut short.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use outrigger_sandbox::testing;
use serde_json::Value;

const OUTRIGGER: &str = env!("CARGO_BIN_EXE_outrigger");

#[test]
fn proves_everything_in_namespaces() {
    if testing::available(OUTRIGGER) {
        proves_everything("namespaces", &[]);
    }
}

#[test]
fn proves_everything_on_loopback() {
    // In a sandbox of its own: the demo's loopback ports are the same for everyone.
    if testing::enter(OUTRIGGER).is_some() {
        proves_everything("loopback", &["--no-namespaces"]);
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    if !testing::available(OUTRIGGER) {
        return;
    }
    let folder = Folder::new("interrupted");
    let mut demo = start(&folder, &[]);
    first_proof(&mut demo);

    signal::kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).unwrap();

    assert_eq!(demo.wait().unwrap().code(), Some(2));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "the demo left files");
    assert_eq!(processes(&folder.0), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_no_process_and_the_next_one_sweeps_its_files() {
    if !testing::available(OUTRIGGER) {
        return;
    }
    for flags in [&[][..], &["--no-namespaces"]] {
        let folder = Folder::new("killed");
        let mut demo = start(&folder, flags);
        first_proof(&mut demo);

        demo.kill().unwrap();
        demo.wait().unwrap();

        eventually(|| processes(&folder.0).is_empty());
        let mut next = start(&folder, &[]);
        first_proof(&mut next);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "the next demo did not sweep");
        signal::kill(Pid::from_raw(next.id().cast_signed()), Signal::SIGTERM).unwrap();
        next.wait().unwrap();
    }
}

fn proves_everything(mode: &str, flags: &[&str]) {
    let folder = Folder::new(mode);
    let output = command(&folder, flags).arg("--json").output().unwrap();

    let stderr = String::from_utf8_lossy(&output.stderr);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    assert_eq!((document["ok"].as_bool(), output.status.code()), (Some(true), Some(0)), "{document:#}");
    assert_eq!((&document["apiVersion"], &document["kind"]), (&"cli.outrigger.io/v1".into(), &"Demo".into()));
    assert_eq!(document["mode"], mode);
    let steps = document["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ca", "identities", "mtls", "split", "retries", "route-change", "trace"]);
    assert!(steps.iter().all(|step| step["ok"] == true && step["elapsedMs"].is_u64()), "{document:#}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "the demo left files");
}

fn start(folder: &Folder, flags: &[&str]) -> Child {
    command(folder, flags).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn command(folder: &Folder, flags: &[&str]) -> Command {
    let mut command = Command::new(OUTRIGGER);
    command.arg("demo").args(flags).env("TMPDIR", &folder.0);
    command
}

/// Reads until the demo has something to clean up.
fn first_proof(demo: &mut Child) {
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("  ok  ")), "the demo ended before its first proof");
    // Whoever reads no more must not make the demo fail at writing.
    thread::spawn(move || lines.count());
}

/// The command lines of processes of demos in this folder.
fn processes(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let command_lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    command_lines.filter(|line| line.contains(folder.to_str().unwrap())).map(|line| line.replace('\0', " ")).collect()
}

fn eventually(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not within 30 s");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder for temporary files of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("outrigger-test-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
