//! The image that the suite's pods run: Istio's echo server and client, built here under the name that the suite gives them.

use anyhow::{Context as _, Result, ensure};

use crate::cluster::image::{self, Image};
use crate::cluster::places::{Places, read};
use crate::cluster::{go, programs};

/// Builds and loads it, when it is not in the cluster already.
pub(super) fn load(places: &Places) -> Result<()> {
    let suite = go::sources_of(places, programs::CONFORMANCE_MODULE, "sigs.k8s.io/gateway-api/conformance")?;
    let name = image_name(&read(&suite.join("mesh/manifests.yaml"))?)?;
    programs::build(places, &[&programs::ECHO_CLIENT, &programs::ECHO_SERVER])?;
    let certificates =
        go::sources_of(places, programs::ECHO_MODULE, "istio.io/istio")?.join("tests/testdata/certs/dns");
    let image = Image {
        name,
        dockerfile: places.repository().join("tests/conformance/echo.Dockerfile"),
        files: vec![
            (programs::path(places, &programs::ECHO_CLIENT), "client".into()),
            (programs::path(places, &programs::ECHO_SERVER), "server".into()),
            (certificates.join("cert-chain.pem"), "cert.crt".into()),
            (certificates.join("key.pem"), "cert.key".into()),
        ],
        links: false,
    };
    let _lock = places.lock()?;
    image::load(places, &[image])
}

/// The only image of the manifests.
fn image_name(manifests: &str) -> Result<String> {
    let mut names = manifests.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    let name = names.next().context("the suite's manifests name no image")?;
    ensure!(names.all(|other| other == name), "the suite's manifests name several images");
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_name_from_the_manifests() {
        assert_eq!(image_name("spec:\n  - image: echo:1\n  - image: echo:1\n").unwrap(), "echo:1");
        assert!(image_name("  - image: echo:1\n  - image: echo:2\n").is_err());
        assert!(image_name("kind: Service\n").is_err());
    }
}
