//! `cargo xtask cluster down`: ends what runs and removes what was made, from whatever state it is in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::part::Part;
use super::places::{Places, read, require_root};
use super::{cgroup, host, network, process};
use crate::step;

/// Removes the cluster.
pub(super) fn run(places: &Places) -> Result<()> {
    require_root()?;
    let _lock = places.lock()?;
    remove(places)
}

/// Removes it, for whoever has the lock.
pub(super) fn remove(places: &Places) -> Result<()> {
    if left(places).is_empty() {
        eprintln!("there is no cluster");
        return Ok(());
    }
    step::announce("removing the cluster");
    let file = places.kubeconfig();
    if file.exists() {
        fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
    }
    // First those that would start others again.
    for part in [Part::Kubelet, Part::ControllerManager, Part::Scheduler] {
        process::stop(places, part.name())?;
    }
    cgroup::remove()?;
    network::remove()?;
    for mount in mounts(places)?.iter().rev() {
        process::quiet(Command::new("umount").arg("--lazy").arg(mount))?;
    }
    host::clean(places)?;
    let run = places.run();
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("remove {}", run.display()))?;
    }
    let left = left(places);
    ensure!(left.is_empty(), "not all could be removed: {}", left.join(", "));
    Ok(())
}

/// What there is of a cluster on this machine.
pub(super) fn left(places: &Places) -> Vec<String> {
    let mut left = network::left();
    let processes = cgroup::all_processes();
    if !processes.is_empty() {
        left.push(format!("{} processes", processes.len()));
    }
    let mut paths = cgroup::left();
    paths.extend(mounts(places).unwrap_or_default());
    paths.extend([places.run(), places.kubeconfig()].into_iter().filter(|path| path.exists()));
    left.extend(paths.iter().map(|path| path.display().to_string()));
    left
}

/// What is mounted in the cluster's folder, outer mounts first.
fn mounts(places: &Places) -> Result<Vec<PathBuf>> {
    Ok(parse(&read(Path::new("/proc/self/mountinfo"))?, &places.run()))
}

fn parse(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(PathBuf::from).filter(|point| point.starts_with(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mounts_of_the_cluster_only() {
        let mountinfo = "22 1 0:5 / /proc rw - proc proc rw\n\
                         90 1 0:9 / /c/run/kubelet/pods/1/token rw - tmpfs tmpfs rw\n\
                         91 1 0:9 / /c/running/other rw - tmpfs tmpfs rw\n";

        assert_eq!(parse(mountinfo, Path::new("/c/run")), [Path::new("/c/run/kubelet/pods/1/token")]);
    }
}
