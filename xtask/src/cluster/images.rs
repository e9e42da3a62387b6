//! `cargo xtask cluster images`: the mesh as the cluster runs it, from the sources as they are now.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::image::{self, Image};
use super::part::Part;
use super::places::{Places, require_root};
use super::{peers, programs};
use crate::{shipped, step, workspace};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The cargo profile: `release` is quicker to build, `dist` is what ships.
    #[arg(long, default_value = "release")]
    profile: String,
    /// Only these: sidecar, control-plane, injector; jaeger, etcd. All when none is named.
    #[arg(value_parser = [COMPONENTS.as_slice(), &peers::ALL].concat())]
    only: Vec<String>,
}

impl Args {
    /// All images, of what is quick to build.
    pub(super) fn quick() -> Self {
        Self { profile: "release".to_owned(), only: Vec::new() }
    }

    fn wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Builds and loads.
pub(super) fn run(places: &Places, args: &Args) -> Result<()> {
    require_root()?;
    let of_mesh = mesh(places, args)?;
    programs::build(places, programs::NODE)?;
    let mut of_peers = Vec::new();
    for peer in peers::ALL.into_iter().filter(|peer| args.wanted(peer)) {
        of_peers.push(peers::image(places, peer)?);
    }
    let _lock = places.lock()?;
    ensure!(Part::Containerd.pid(places).is_some(), "the cluster is not up: run `cargo xtask cluster up`");
    let mut images = image::of_the_node(places)?;
    for (component, program) in of_mesh {
        images.push(Image {
            name: format!("outrigger/{component}:{}", image::VERSION),
            dockerfile: places.repository().join(format!("deploy/images/{component}.Dockerfile")),
            files: vec![(program, file_name(component).to_owned())],
            links: false,
        });
    }
    images.extend(of_peers);
    image::load(places, &images)?;
    for image in &images {
        eprintln!("{}", image.name);
    }
    Ok(())
}

/// Builds the components' programs: static, for images that have nothing else.
fn mesh(places: &Places, args: &Args) -> Result<Vec<(&'static str, PathBuf)>> {
    let root = places.repository();
    let metadata = step::output(workspace::cargo(root).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let components: Vec<&str> = COMPONENTS.into_iter().filter(|name| args.wanted(name)).collect();
    let (there, missing): (Vec<&str>, Vec<&str>) =
        components.into_iter().partition(|component| has_program(&metadata, component));
    for component in missing {
        eprintln!("no package with the program {} in this repository: no image of it", file_name(component));
    }
    let packages: Vec<&str> = there.iter().map(|component| file_name(component)).collect();
    let has_client = |component: &&&str| {
        package_of(&metadata, component).is_some_and(|package| package["features"]["kubernetes"].is_array())
    };
    let features = there.iter().filter(has_client).map(|component| format!("{}/kubernetes", file_name(component)));
    let folder = shipped::build(root, &args.profile, &packages, &features.collect::<Vec<_>>())?;
    Ok(there
        .iter()
        .filter_map(|there| COMPONENTS.into_iter().find(|component| component == there))
        .map(|component| (component, folder.join(file_name(component))))
        .collect())
}

fn has_program(metadata: &Value, component: &str) -> bool {
    let targets = package_of(metadata, component).and_then(|package| package["targets"].as_array());
    targets.into_iter().flatten().any(|target| {
        target["name"] == file_name(component)
            && target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
    })
}

fn package_of<'a>(metadata: &'a Value, component: &str) -> Option<&'a Value> {
    metadata["packages"].as_array()?.iter().find(|package| package["name"] == file_name(component))
}

/// The package and the program of a component.
fn file_name(component: &str) -> &'static str {
    match component {
        "sidecar" => "outrigger-sidecar",
        "control-plane" => "outrigger-control-plane",
        _ => "outrigger-injector",
    }
}

const COMPONENTS: [&str; 3] = ["sidecar", "control-plane", "injector"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn builds_images_only_of_programs_that_exist() {
        let metadata = json!({"packages": [
            {"name": "outrigger-sidecar", "targets": [{"name": "outrigger-sidecar", "kind": ["bin"]}]},
            {"name": "outrigger-injector", "targets": [{"name": "outrigger-injector", "kind": ["lib"]}]},
        ]});

        assert!(has_program(&metadata, "sidecar"));
        assert!(!has_program(&metadata, "injector"), "a library only");
        assert!(!has_program(&metadata, "control-plane"), "no such package");
    }
}
