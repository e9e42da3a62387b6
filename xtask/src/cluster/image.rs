//! Container images, each of a few static files: built by buildah into a file in the cache, loaded into our containerd.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::places::{Places, make_folder, write};
use super::{part, process, programs};
use crate::step;

/// What holds a pod's namespaces.
pub(super) const PAUSE: &str = "outrigger/pause:1";
/// The cluster's DNS.
pub(super) const COREDNS: &str = "outrigger/coredns:1.15.0";
/// What knows how much CPU pods use.
pub(super) const METRICS_SERVER: &str = "outrigger/metrics-server:0.9.0";
/// What `examples/kubernetes` uses, under its public name, so that the examples run here as users have them.
const PUBLIC_BUSYBOX: &str = "busybox:1.37";
/// Images of this repository have its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// An image to build.
#[derive(Debug)]
pub(super) struct Image {
    /// Name and tag.
    pub(super) name: String,
    pub(super) dockerfile: PathBuf,
    /// Files, and what they are called where the Dockerfile is run.
    pub(super) files: Vec<(PathBuf, String)>,
    /// Whether the first file is a BusyBox, which gets a link for each of its commands.
    pub(super) links: bool,
}

/// What a node cannot do without, and what the tests run in pods.
pub(super) fn of_the_node(places: &Places) -> Result<Vec<Image>> {
    let dockerfile = |name: &str| places.sources().join(format!("images/{name}.Dockerfile"));
    let busybox = busybox()?;
    Ok(vec![
        Image {
            name: PAUSE.into(),
            dockerfile: dockerfile("pause"),
            files: vec![(busybox.clone(), "busybox".into())],
            links: false,
        },
        Image {
            name: COREDNS.into(),
            dockerfile: dockerfile("coredns"),
            files: vec![(programs::path(places, &programs::COREDNS), "coredns".into())],
            links: false,
        },
        Image {
            name: METRICS_SERVER.into(),
            dockerfile: dockerfile("metrics-server"),
            files: vec![(programs::path(places, &programs::METRICS_SERVER), "metrics-server".into())],
            links: false,
        },
        Image {
            name: format!("outrigger/test-app:{VERSION}"),
            dockerfile: dockerfile("test-app"),
            files: vec![(programs::path(places, &programs::TEST_APP), "test-app".into())],
            links: false,
        },
        Image {
            name: format!("outrigger/busybox:{VERSION}"),
            dockerfile: dockerfile("busybox"),
            files: vec![(busybox.clone(), "rootfs/bin/busybox".into())],
            links: true,
        },
        Image {
            name: PUBLIC_BUSYBOX.into(),
            dockerfile: dockerfile("busybox"),
            files: vec![(busybox, "rootfs/bin/busybox".into())],
            links: true,
        },
    ])
}

/// Builds those that are not in the cache.
pub(super) fn build(places: &Places, images: &[Image]) -> Result<()> {
    images.iter().try_for_each(|image| image.built(places).map(|_| ()))
}

/// Loads those into containerd that it does not have as they are now; builds them first if need be.
pub(super) fn load(places: &Places, images: &[Image]) -> Result<()> {
    let loaded = places.run().join("loaded");
    make_folder(&loaded)?;
    for image in images {
        let archive = image.built(places)?;
        let wanted = archive.display().to_string();
        let stamp = loaded.join(image.file_name());
        if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
            continue;
        }
        process::quiet(part::ctr(places).args(["images", "import"]).arg(&archive))?;
        write(&stamp, &wanted)?;
    }
    Ok(())
}

impl Image {
    /// The image as a file.
    fn built(&self, places: &Places) -> Result<PathBuf> {
        let folder = places.images();
        make_folder(&folder)?;
        let archive = folder.join(format!("{}-{:016x}.tar", self.file_name(), self.fingerprint()?));
        if archive.is_file() {
            return Ok(archive);
        }
        step::announce(&format!("building image {}", self.name));
        let work = folder.join(format!("{}.work", self.file_name()));
        remove(&work)?;
        self.build(places, &work, &archive)?;
        remove(&work)?;
        self.remove_older(&folder, &archive)?;
        Ok(archive)
    }

    fn build(&self, places: &Places, work: &Path, archive: &Path) -> Result<()> {
        let context = work.join("context");
        for (file, name) in &self.files {
            let copy = context.join(name);
            make_folder(copy.parent().context("a file without a folder")?)?;
            fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
            make_executable(&copy)?;
            if self.links {
                link_commands(&copy)?;
            }
        }
        let id = work.join("id");
        let buildah = || {
            let mut buildah = Command::new("buildah");
            buildah.args(["--storage-driver", "vfs", "--root"]).arg(work.join("storage"));
            buildah.arg("--runroot").arg(work.join("state"));
            buildah
        };
        let policy = places.sources().join("config/image-policy.json");
        process::quiet(
            buildah()
                .args(["bud", "--isolation", "chroot", "--quiet", "--timestamp", "0", "--signature-policy"])
                .arg(&policy)
                .arg("--iidfile")
                .arg(&id)
                .arg("-f")
                .arg(&self.dockerfile)
                .arg(&context),
        )?;
        let id = fs::read_to_string(&id)?;
        let unfinished = work.join("image.tar");
        let target = format!("docker-archive:{}:{}", unfinished.display(), self.name);
        process::quiet(
            buildah().args(["push", "--quiet", "--signature-policy"]).arg(&policy).args([id.trim(), target.as_str()]),
        )?;
        fs::rename(&unfinished, archive).with_context(|| format!("rename to {}", archive.display()))
    }

    /// A number that changes with what the image is made of.
    fn fingerprint(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        for (file, name) in self.files.iter().map(|(file, name)| (file, &**name)).chain([(&self.dockerfile, "")]) {
            name.hash(&mut hasher);
            fs::read(file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    fn remove_older(&self, folder: &Path, current: &Path) -> Result<()> {
        let prefix = format!("{}-", self.file_name());
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path != current && is_archive_of(&name, &prefix) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn file_name(&self) -> String {
        self.name.replace(['/', ':'], "-")
    }
}

/// `PREFIX` and sixteen hexadecimal digits and `.tar`.
fn is_archive_of(name: &str, prefix: &str) -> bool {
    let digits = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".tar"));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A link beside BusyBox for each of its commands.
fn link_commands(busybox: &Path) -> Result<()> {
    let folder = busybox.parent().context("a file without a folder")?;
    for command in step::output(Command::new(busybox).arg("--list"))?.lines() {
        if command != "busybox" {
            std::os::unix::fs::symlink("busybox", folder.join(command))?;
        }
    }
    Ok(())
}

/// Debian's static BusyBox: /bin and /usr/bin are one folder on some machines only.
fn busybox() -> Result<PathBuf> {
    let places = ["/usr/bin/busybox", "/bin/busybox"].map(PathBuf::from);
    let found = places.into_iter().find(|path| path.is_file());
    let found = found.context("no busybox: apt-get install busybox-static")?;
    let is_dynamic = fs::read(&found)?.windows(LOADER.len()).any(|bytes| bytes == LOADER);
    ensure!(!is_dynamic, "{} needs libraries: apt-get install busybox-static replaces it", found.display());
    Ok(found)
}

/// Part of the name of every loader of dynamic programs.
const LOADER: &[u8] = b"/ld-linux";

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_archives_of_the_same_image_only() {
        assert!(is_archive_of("outrigger-pause-1-0123456789abcdef.tar", "outrigger-pause-1-"));
        assert!(!is_archive_of("outrigger-pause-1-extra-0123456789abcdef.tar", "outrigger-pause-1-"));
        assert!(!is_archive_of("outrigger-pause-1.work", "outrigger-pause-1-"));
    }
}
