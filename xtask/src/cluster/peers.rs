//! Images of programs that nobody here wrote, which the tests run in pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::image::{Image, VERSION};
use super::places::Places;
use super::programs;
use crate::step;

/// Their names.
pub(super) const ALL: [&str; 2] = ["jaeger", "etcd"];

/// The image of one of them; its program is built or found first.
pub(super) fn image(places: &Places, name: &str) -> Result<Image> {
    let files = match name {
        "jaeger" => vec![(programs::JAEGER.built(places)?, "jaeger".to_owned())],
        other => with_libraries(&installed(other)?)?,
    };
    Ok(Image {
        name: format!("outrigger/{name}:{VERSION}"),
        dockerfile: places.sources().join(format!("images/{name}.Dockerfile")),
        files,
        links: false,
    })
}

/// A program of the distribution's, on PATH.
fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("no {name} on PATH: `cargo xtask cluster up` installs it"))
}

/// A program that is linked dynamically, with its libraries and its loader where it looks for them.
fn with_libraries(program: &Path) -> Result<Vec<(PathBuf, String)>> {
    let name = program.file_name().context("a program without a name")?.to_string_lossy();
    let mut files = vec![(program.to_path_buf(), format!("rootfs/{name}"))];
    for library in libraries(&step::output(Command::new("ldd").arg(program))?) {
        let file = fs::canonicalize(&library).with_context(|| format!("find {}", library.display()))?;
        files.push((file, format!("rootfs{}", library.display())));
    }
    Ok(files)
}

/// The files that ldd prints; what the kernel provides is none.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let file = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ldd_prints() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f28d11a4000)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f28d0fb1000)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f28d11a6000)\n";

        let files = libraries(ldd);

        assert_eq!(files, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from));
        assert!(libraries("\tstatically linked\n").is_empty());
    }
}
