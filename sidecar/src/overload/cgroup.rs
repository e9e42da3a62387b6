//! The memory limit of the own control group, versions 1 and 2, and what is used of it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use outrigger_daemon::anonymous;

/// Beyond this a limit is none: version 1 writes "none" as the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 60;

/// Percent of the limit below which the page cache in it is not asked for: that file costs the kernel more to write.
const LOOK_CLOSER: u64 = 80;

/// Where the kernel tells about the own process and about control groups.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    /// `/proc/self`
    pub(super) own: PathBuf,
    /// In front of the paths of mounts.
    pub(super) root: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { own: "/proc/self".into(), root: "/".into() }
    }
}

/// A control group that limits the own memory: of those above the process the one with the least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    directory: PathBuf,
    files: &'static Files,
    /// Bytes.
    pub(super) limit: u64,
    /// No other process is in it.
    alone: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: page cache that the kernel takes back when it needs to.
    cache: &'static str,
}

static VERSION_1: Files =
    Files { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cache: "total_inactive_file" };
static VERSION_2: Files = Files { limit: "memory.max", usage: "memory.current", cache: "inactive_file" };

impl Cgroup {
    /// Finds the one that limits the own process; `None` when nothing does, or nothing can be known.
    pub(super) fn own(roots: &Roots) -> Option<Self> {
        let groups = read_to_string(roots.own.join("cgroup")).ok()?;
        let mounts = read_to_string(roots.own.join("mountinfo")).ok()?;
        let found = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let files = match controllers {
                "" => &VERSION_2,
                named if named.split(',').any(|name| name == "memory") => &VERSION_1,
                _ => return None,
            };
            let (top, directory) = mounts.lines().find_map(|mount| mounted(mount, files, path, &roots.root))?;
            smallest(&top, &directory, files)
        });
        found.min_by_key(|group| group.limit)
    }

    /// Bytes used of the limit. Where the group has other processes too only the own memory counts: nothing done here frees
    /// theirs.
    pub(super) fn used(&self) -> u64 {
        if !self.alone {
            return anonymous();
        }
        let Some(usage) = number(&self.directory.join(self.files.usage)) else { return anonymous() };
        if usage < self.limit / 100 * LOOK_CLOSER {
            return usage;
        }
        let stat = read_to_string(self.directory.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(self.files.cache)?.trim().parse().ok());
        usage.saturating_sub(cache.unwrap_or(0))
    }
}

/// Where a line of mountinfo shows the group at `path`: the mount's top and the group's directory.
fn mounted(line: &str, files: &Files, path: &str, prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    // 36 35 98:0 /root /mount/point options … - type source super,options (proc_pid_mountinfo(5)).
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    let right = match kind {
        "cgroup2" => files.cache == VERSION_2.cache,
        "cgroup" => files.cache == VERSION_1.cache && options.split(',').any(|option| option == "memory"),
        _ => false,
    };
    if !right {
        return None;
    }
    let top = prefix.join(point.trim_start_matches('/'));
    // A container may see its own group as the top, by its path on the host.
    let below = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
    let directory = top.join(below);
    if directory.is_dir() { Some((top, directory)) } else { Some((top.clone(), top)) }
}

fn smallest(top: &Path, directory: &Path, files: &'static Files) -> Option<Cgroup> {
    let groups = directory.ancestors().take_while(|group| group.starts_with(top));
    let limited = groups.filter_map(|group| {
        // `max` is no number.
        let limit = number(&group.join(files.limit)).filter(|limit| *limit < NO_LIMIT && *limit > 0)?;
        Some((limit, group))
    });
    let (limit, group) = limited.min_by_key(|(limit, _)| *limit)?;
    Some(Cgroup { directory: group.to_owned(), files, limit, alone: is_alone(group) })
}

/// Whether the group has one process, and no groups below it.
fn is_alone(group: &Path) -> bool {
    let processes = read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    processes.lines().count() == 1 && !below.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

fn number(file: &Path) -> Option<u64> {
    read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A machine of files; goes with the value.
    struct Machine(Roots);

    impl Machine {
        fn new(name: &str, cgroup: &str, mountinfo: &str) -> Self {
            let root = std::env::temp_dir().join(format!("outrigger-cgroup-{}-{name}", std::process::id()));
            let own = root.join("proc");
            fs::create_dir_all(&own).unwrap();
            fs::write(own.join("cgroup"), cgroup).unwrap();
            fs::write(own.join("mountinfo"), mountinfo).unwrap();
            Self(Roots { own, root })
        }

        fn with(self, group: &str, files: &[(&str, &str)]) -> Self {
            let group = self.0.root.join(group);
            fs::create_dir_all(&group).unwrap();
            files.iter().for_each(|(name, text)| fs::write(group.join(name), text).unwrap());
            self
        }

        fn own(&self) -> Option<Cgroup> {
            Cgroup::own(&self.0)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0.root).unwrap();
        }
    }

    const V1: &str =
        "32 31 0:29 / /sys/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / /sys/memory rw - cgroup cgroup rw,memory\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn reads_version_1_and_takes_the_least_limit_above_the_process() {
        let none = "9223372036854771712\n";
        let machine = Machine::new("v1", "4:cpu:/\n3:memory,hugetlb:/pods/one/two\n0::/\n", V1)
            .with("sys/memory", &[("memory.limit_in_bytes", none)])
            .with("sys/memory/pods/one", &[("memory.limit_in_bytes", "67108864\n"), ("cgroup.procs", "")])
            .with("sys/memory/pods/one/two", &[("memory.limit_in_bytes", none), ("cgroup.procs", "7\n")]);

        let group = machine.own().unwrap();
        assert_eq!((group.limit, group.alone), (64 << 20, false), "others may be in the group with the limit");
        assert_eq!(group.used() / (1 << 30), 0, "the own memory");
    }

    #[test]
    fn reads_version_2_and_counts_no_page_cache_that_can_be_taken_back() {
        let machine = Machine::new("v2", "0::/a\n", V2).with(
            "sys/fs/cgroup/a",
            &[
                ("memory.max", "1000000\n"),
                ("memory.current", "900000\n"),
                ("memory.stat", "anon 1\ninactive_file 300000\n"),
                ("cgroup.procs", "7\n"),
            ],
        );

        let group = machine.own().unwrap();
        assert_eq!((group.limit, group.alone, group.used()), (1_000_000, true, 600_000));
    }

    #[test]
    fn a_container_that_sees_its_own_group_as_the_top_has_its_limit() {
        let mounts = V1.replace("0:32 / ", "0:32 /kubepods/pod1/c1 ");
        for path in ["/kubepods/pod1/c1", "/", "/elsewhere"] {
            let machine = Machine::new("top", &format!("3:memory:{path}\n"), &mounts).with(
                "sys/memory",
                &[("memory.limit_in_bytes", "5000"), ("memory.usage_in_bytes", "10"), ("cgroup.procs", "1\n")],
            );
            let group = machine.own().unwrap();
            assert_eq!((group.limit, group.alone, group.used()), (5000, true, 10), "{path}");
        }
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let max = Machine::new("max", "0::/a\n", V2).with("sys/fs/cgroup/a", &[("memory.max", "max\n")]);
        assert_eq!(max.own(), None);
        let nothing = Machine::new("nothing", "", "");
        assert_eq!(nothing.own(), None);
        let odd = Machine::new("odd", "no cgroup at all\n0::\n1:memory\n", "36 35\n - \n");
        assert_eq!(odd.own(), None);
    }
}
