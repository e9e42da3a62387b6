//! The demo's folder: a copy of the YAML to edit, the CA, sockets and logs. It goes when the demo does.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::event::Mode;

/// The demo's YAML, as in the folder `examples/demo` of the sources.
pub(crate) const EXAMPLES: [(&str, &str); 6] = [
    ("namespace.yaml", include_str!("../../examples/demo/namespace.yaml")),
    ("workloads.yaml", include_str!("../../examples/demo/workloads.yaml")),
    ("services.yaml", include_str!("../../examples/demo/services.yaml")),
    (SPLIT_FILE, include_str!("../../examples/demo/route-split.yaml")),
    ("route-retry.yaml", include_str!("../../examples/demo/route-retry.yaml")),
    ("route-grpc.yaml", include_str!("../../examples/demo/route-grpc.yaml")),
];

/// The file that the demo edits.
pub(crate) const SPLIT_FILE: &str = "route-split.yaml";

/// Where everything of one demo lies. The outer process removes it.
#[derive(Debug, Clone)]
pub(crate) struct Paths(PathBuf);

impl Paths {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The YAML that the control plane reads.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.0.join("ca")
    }

    /// A copy of the root certificate that sidecars of another user can read.
    pub(crate) fn trust_anchors(&self) -> PathBuf {
        self.0.join("trust-anchors.pem")
    }

    /// A sidecar's token and state.
    pub(crate) fn sidecar(&self, workload: &str) -> PathBuf {
        self.0.join("sidecars").join(workload)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The outer process leads from here to the host's OTLP receiver.
    pub(crate) fn otlp_socket(&self) -> PathBuf {
        self.0.join("otlp.sock")
    }

    /// The inner process leads from here to the frontend.
    pub(crate) fn frontend_socket(&self) -> PathBuf {
        self.0.join("frontend.sock")
    }

    /// The inner process answers `outrigger check` and `outrigger run` here.
    pub(crate) fn mesh_socket(&self) -> PathBuf {
        self.0.join("mesh.sock")
    }
}

/// Owns the folder.
#[derive(Debug)]
pub(crate) struct Folder {
    paths: Paths,
}

impl Folder {
    /// Makes the folder of this process, and removes those of demos that were killed.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let root = parent.join(format!("{PREFIX}{}", std::process::id()));
        // Others may pass through, as a sidecar of another user must, but not look around.
        let made = fs::DirBuilder::new().mode(0o711).create(&root);
        made.with_context(|| format!("make the demo's folder {}", root.display()))?;
        let folder = Self { paths: Paths::new(root) };
        for path in [folder.paths.config(), folder.paths.logs(), folder.paths.root().join("sidecars")] {
            let made = fs::DirBuilder::new().mode(0o711).create(&path);
            made.with_context(|| format!("make {}", path.display()))?;
        }
        Ok(folder)
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Writes the copy of the YAML. On loopback, addresses that no interface has become loopback addresses.
    pub(crate) fn write_config(&self, mode: Mode) -> anyhow::Result<()> {
        for (name, text) in EXAMPLES {
            let path = self.paths.config().join(name);
            fs::write(&path, for_mode(text, mode)).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.paths.root());
    }
}

/// The folders of running demos of the calling user.
pub(crate) fn running() -> Vec<Paths> {
    let alive = |(_, pid): &(PathBuf, String)| Path::new("/proc").join(pid).exists();
    folders(&std::env::temp_dir()).filter(alive).map(|(path, _)| Paths::new(path)).collect()
}

fn sweep(parent: &Path) {
    for (path, pid) in folders(parent) {
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Demo folders with their processes' ids. Anybody can make folders here: only the user's own count.
fn folders(parent: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let own = nix::unistd::geteuid().as_raw();
    let entries = fs::read_dir(parent).into_iter().flatten().filter_map(io::Result::ok);
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned();
        let metadata = entry.path().symlink_metadata().ok()?;
        let is_ours = metadata.is_dir() && metadata.uid() == own && pid.parse::<u32>().is_ok();
        is_ours.then(|| (entry.path(), pid))
    })
}

fn for_mode(text: &str, mode: Mode) -> String {
    match mode {
        Mode::Namespaces => text.to_owned(),
        Mode::Loopback => text.replace("10.77.0.", "127.77.0.").replace("10.96.0.", "127.96.0."),
    }
}

const PREFIX: &str = "outrigger-demo-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_copy_has_only_loopback_addresses() {
        for (name, text) in EXAMPLES {
            let copy = for_mode(text, Mode::Loopback);
            assert!(!copy.contains(" 10."), "{name}: {copy}");
            assert_eq!(for_mode(text, Mode::Namespaces), text);
        }
    }

    #[test]
    fn removes_what_it_made_and_what_dead_demos_left() {
        let dead = std::env::temp_dir().join(format!("{PREFIX}{}", u32::MAX));
        fs::create_dir_all(dead.join("ca")).unwrap();

        let folder = Folder::create().unwrap();
        let root = folder.paths().root().to_owned();

        assert!(!dead.exists());
        assert!(running().iter().any(|paths| paths.root() == root));
        folder.write_config(Mode::Namespaces).unwrap();
        assert!(folder.paths().config().join(SPLIT_FILE).exists());
        drop(folder);
        assert!(!root.exists());
    }
}
