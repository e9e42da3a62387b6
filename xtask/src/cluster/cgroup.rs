//! The cgroup that holds every process of the cluster: the daemons, and below it the pods that the kubelet starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::network::CLUSTER;
use super::places::make_folder;
use super::process;

/// Makes the cgroup in every hierarchy: the kubelet wants its root to exist in all of them.
pub(super) fn make() -> Result<()> {
    for hierarchy in hierarchies() {
        let cgroup = hierarchy.join(CLUSTER);
        make_folder(&cgroup)?;
        // Version 2 hands controllers down one level at a time; one that is already there, or is not to be had, is fine.
        for parent in [&hierarchy, &cgroup] {
            let available = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
            for controller in available.split_whitespace() {
                let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
    make_folder(&daemons())
}

/// The cgroup of the daemons, in the one hierarchy that we look for processes in.
pub(super) fn daemons() -> PathBuf {
    root().join("daemons")
}

/// The processes of one cgroup.
pub(super) fn processes(cgroup: &Path) -> Vec<u32> {
    let list = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The processes of the cluster: the daemons, and all of the pods.
pub(super) fn all_processes() -> Vec<u32> {
    folders(&root()).iter().flat_map(|cgroup| processes(cgroup)).collect()
}

/// Ends every process of the cluster, and removes its cgroups.
pub(super) fn remove() -> Result<()> {
    let start = Instant::now();
    loop {
        let left = all_processes();
        if left.is_empty() {
            break;
        }
        if start.elapsed() > PATIENCE {
            bail!("processes of the cluster do not end: {left:?}");
        }
        process::signal("KILL", &left);
        std::thread::sleep(Duration::from_millis(50));
    }
    while let Some(stubborn) = remove_folders() {
        if start.elapsed() > PATIENCE {
            bail!("cannot remove the cgroup {}", stubborn.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The cluster's cgroups that exist, in all hierarchies.
pub(super) fn left() -> Vec<PathBuf> {
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(CLUSTER)).filter(|cgroup| cgroup.exists()).collect()
}

/// Removes from below to above; gives one that the kernel still holds.
fn remove_folders() -> Option<PathBuf> {
    let mut stubborn = None;
    for cgroup in left() {
        for folder in folders(&cgroup).into_iter().rev() {
            if fs::remove_dir(&folder).is_err() {
                stubborn = Some(folder);
            }
        }
    }
    stubborn
}

/// A cgroup and all below it, parents first.
fn folders(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = cgroup.read_dir() else { return Vec::new() };
    let mut found = vec![cgroup.to_path_buf()];
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(folders(&entry.path()));
        }
    }
    found
}

/// The cluster's cgroup where processes are looked for: every process is in each hierarchy, so one is enough.
fn root() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let all = parse(&mounts);
    let processes = all.iter().find(|mount| mount.ends_with("pids")).or_else(|| all.first());
    processes.map_or_else(|| PathBuf::from("/sys/fs/cgroup"), Clone::clone).join(CLUSTER)
}

fn hierarchies() -> Vec<PathBuf> {
    parse(&fs::read_to_string("/proc/mounts").unwrap_or_default())
}

/// The mount points of cgroup hierarchies, version 1 and 2.
fn parse(mounts: &str) -> Vec<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .filter(|fields| matches!(fields.get(2), Some(&("cgroup" | "cgroup2"))))
        .map(|f| PathBuf::from(f[1]))
        .collect()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hierarchies_of_both_versions() {
        let mounts = "proc /proc proc rw 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,relatime,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

        assert_eq!(parse(mounts), [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/unified")]);
    }
}
