//! Processes that outlive the command that starts them: each with a pid file and a log, all in the cluster's cgroup.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::cgroup;
use super::network;
use super::places::{Places, make_folder, read, write};
use crate::workspace;

/// Starts a program in the cluster's network and cgroup, in a session of its own.
pub(super) fn start(places: &Places, name: &str, command: &[String]) -> Result<()> {
    let log_path = places.log_file(name);
    for file in [&log_path, &pid_file(places, name)] {
        make_folder(file.parent().context("a file without a folder")?)?;
    }
    let log = File::options().create(true).append(true).open(&log_path);
    let log = log.with_context(|| format!("open {}", log_path.display()))?;
    let mut daemon = Command::new("setsid");
    daemon.args(["sh", "-c", BECOME]).arg(cgroup::daemons().join("cgroup.procs"));
    daemon.args(network::prefix()).args(command);
    daemon.env("PATH", search_path()?).current_dir(places.run());
    daemon.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = daemon.spawn().with_context(|| format!("cannot start {name}"))?;
    write(&pid_file(places, name), &child.id().to_string())
}

/// Joins the cgroup before it becomes the program: nothing that the program starts can be outside. And it lets go of
/// what the caller's shell had open: a lock of theirs would be held for as long as the cluster runs.
const BECOME: &str = r#"echo $$ > "$0" && exec "$@" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-"#;

/// The pid of a started program that still runs.
pub(super) fn pid(places: &Places, name: &str) -> Option<u32> {
    let recorded = fs::read_to_string(pid_file(places, name)).ok()?.parse().ok()?;
    // Membership in the cgroup tells ours from a stranger that was given the same number.
    cgroup::processes(&cgroup::daemons()).contains(&recorded).then_some(recorded)
}

/// Ends a program and waits for its end.
pub(super) fn stop(places: &Places, name: &str) -> Result<()> {
    let Some(running) = pid(places, name) else { return Ok(()) };
    signal("TERM", &[running]);
    let start = Instant::now();
    while pid(places, name).is_some() {
        if start.elapsed() > PATIENCE {
            signal("KILL", &[running]);
        }
        if start.elapsed() > PATIENCE * 2 {
            bail!("{name} (pid {running}) does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Sends a signal; a process that is already gone is no error.
pub(super) fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"kill -s "$0" "$@""#, name]).args(pids);
    let _ = kill.stdin(Stdio::null()).stderr(Stdio::null()).status();
}

/// Asks again and again until the answer is yes; the program must stay alive meanwhile.
///
/// # Errors
/// When the program ends or the time is up: with the last lines of its log.
pub(super) fn wait(places: &Places, name: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    // What was started a moment ago may not be in the cgroup yet.
    let grace = Duration::from_millis(500);
    while !ready() {
        let ended = start.elapsed() > grace && pid(places, name).is_none();
        if ended || start.elapsed() > limit {
            let what = if ended { "has ended" } else { "is not ready in time" };
            let log = places.log_file(name);
            bail!("{name} {what}; its log {} ends with:\n{}", log.display(), tail(&log));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether an HTTP server on the node's side answers a GET with success.
pub(super) fn answers(url: &str) -> bool {
    let mut curl = network::command("curl");
    curl.args(["-skf", "--max-time", "3", "-o", "/dev/null", url]);
    curl.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a command quietly: its output only matters when it fails.
pub(super) fn quiet(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", args.join(" "), output.status, said.trim());
    }
    Ok(())
}

fn tail(log: &Path) -> String {
    let text = read(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

fn pid_file(places: &Places, name: &str) -> std::path::PathBuf {
    places.run().join("pids").join(name)
}

/// Where root's programs are, also for a user whose PATH lacks them.
pub(super) fn search_path() -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(workspace::ROOT_PROGRAMS.map(Into::into));
    Ok(std::env::join_paths(dirs)?)
}

const PATIENCE: Duration = Duration::from_secs(10);
