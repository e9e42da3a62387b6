//! What the cluster's programs leave on the host, beside the folder that we give them: noted before they start, so that
//! `down` puts it back as it was.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::network::CLUSTER;
use super::places::{Places, read, write};

/// Notes the host's state, once for a running cluster, and raises the limits that many pods run into.
pub(super) fn prepare(places: &Places) -> Result<()> {
    let notes = places.run().join("host.json");
    if notes.is_file() {
        return Ok(());
    }
    let absent: Vec<&str> = WRITTEN.iter().copied().filter(|path| !Path::new(path).exists()).collect();
    let mut settings = Map::new();
    for (name, _) in RAISED.iter().map(|(name, least)| (*name, *least)).chain(TUNED_BY_KUBELET.map(|name| (name, 0))) {
        settings.insert(name.to_owned(), json!(setting(name)?));
    }
    write(&notes, &json!({ "absent": absent, "settings": settings }).to_string())?;
    for (name, least) in RAISED {
        if setting(name)?.parse::<u64>().is_ok_and(|now| now < *least) {
            set(name, &least.to_string())?;
        }
    }
    Ok(())
}

/// Undoes what a kubelet does to the kernel when it starts: this machine is no node (a panic on every oops, say).
pub(super) fn restore_kernel(places: &Places) -> Result<()> {
    restore(&notes(places)?, &TUNED_BY_KUBELET)
}

/// Puts the host back as it was.
pub(super) fn clean(places: &Places) -> Result<()> {
    if !places.run().join("host.json").is_file() {
        return Ok(());
    }
    let notes = notes(places)?;
    restore(&notes, &TUNED_BY_KUBELET)?;
    restore(&notes, &RAISED.map(|(name, _)| name))?;
    remove_log_links(places)?;
    remove_network_results()?;
    remove_dead_sockets(Path::new("/run/containerd/s"))?;
    remove_dead_sockets(Path::new("/var/lib/kubelet/device-plugins"))?;
    for path in absent(&notes) {
        // Somebody else may have come to use it since: only what is empty goes.
        let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("{} was not there before the cluster, and stays: {error}", path.display());
        }
    }
    Ok(())
}

/// The kubelet links every container's log from here.
fn remove_log_links(places: &Places) -> Result<()> {
    for link in entries(Path::new("/var/log/containers")) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(places.run())) {
            fs::remove_file(link)?;
        }
    }
    Ok(())
}

/// What the CNI plugins answered, by network and pod; each pod has one for its loopback link, too.
fn remove_network_results() -> Result<()> {
    let results = Path::new("/var/lib/cni/results");
    let names: Vec<String> =
        entries(results).iter().filter_map(|path| Some(path.file_name()?.to_str()?.into())).collect();
    for name in ours(&names) {
        fs::remove_file(results.join(name))?;
    }
    Ok(())
}

/// Those among the results that are of pods of our network.
fn ours(results: &[String]) -> Vec<&String> {
    let prefix = format!("{CLUSTER}-");
    let pods: Vec<&str> = results.iter().filter_map(|name| name.strip_prefix(&prefix)?.split('-').next()).collect();
    results.iter().filter(|name| name.split('-').any(|word| pods.contains(&word))).collect()
}

/// Sockets that nobody listens on any more.
fn remove_dead_sockets(folder: &Path) -> Result<()> {
    for path in entries(folder) {
        let is_socket = fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && UnixStream::connect(&path).is_err() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn notes(places: &Places) -> Result<Value> {
    Ok(serde_json::from_str(&read(&places.run().join("host.json"))?)?)
}

fn absent(notes: &Value) -> Vec<PathBuf> {
    let paths = notes["absent"].as_array().into_iter().flatten();
    // Only what we know of, whatever the file says.
    paths.filter_map(Value::as_str).filter(|path| WRITTEN.contains(path)).map(PathBuf::from).collect()
}

fn restore(notes: &Value, names: &[&str]) -> Result<()> {
    for name in names {
        if let Some(before) = notes["settings"][name].as_str()
            && setting(name)? != before
        {
            set(name, before)?;
        }
    }
    Ok(())
}

fn setting(name: &str) -> Result<String> {
    Ok(read(&setting_file(name))?.trim().to_owned())
}

fn set(name: &str, value: &str) -> Result<()> {
    write(&setting_file(name), value)
}

fn setting_file(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Where containerd, the CNI plugins and the kubelet write whatever they are told; children first.
const WRITTEN: &[&str] = &[
    "/run/containerd/s",
    "/run/containerd",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/run/xtables.lock",
];

/// Programs of pods, kubelet and containerd all watch files: the usual 128 end with a few dozen pods.
const RAISED: &[(&str, u64); 1] = &[("fs/inotify/max_user_instances", 8192)];

const TUNED_BY_KUBELET: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_results_of_its_own_pods_only() {
        let names = ["outrigger-cluster-12ab-eth0", "cni-loopback-12ab-lo", "cni-loopback-34cd-lo", "other-34cd-eth0"];
        let names = names.map(str::to_owned);

        assert_eq!(ours(&names), ["outrigger-cluster-12ab-eth0", "cni-loopback-12ab-lo"]);
    }
}
