//! What the cluster's programs leave on the host, beside the folder that we give them: noted before they start, so that
//! `down` puts it back as it was.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

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
    for path in absent(&notes) {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    remove_log_links(places)
}

/// The paths outside of our folder that are there now and were not before.
pub(super) fn left(places: &Places) -> Vec<PathBuf> {
    let Ok(notes) = notes(places) else { return Vec::new() };
    absent(&notes).into_iter().filter(|path| path.exists()).collect()
}

/// The kubelet links every container's log from here, also on a machine that has other users of the folder.
fn remove_log_links(places: &Places) -> Result<()> {
    let Ok(links) = Path::new("/var/log/containers").read_dir() else { return Ok(()) };
    for link in links.flatten() {
        if fs::read_link(link.path()).is_ok_and(|target| target.starts_with(places.run())) {
            fs::remove_file(link.path())?;
        }
    }
    Ok(())
}

fn notes(places: &Places) -> Result<Value> {
    Ok(serde_json::from_str(&read(&places.run().join("host.json"))?)?)
}

fn absent(notes: &Value) -> Vec<PathBuf> {
    let paths = notes["absent"].as_array().into_iter().flatten();
    // Only what we know of, whatever the file says: these are removed with all below them.
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

/// Where containerd, the CNI plugins and the kubelet write whatever they are told.
const WRITTEN: &[&str] = &[
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
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
