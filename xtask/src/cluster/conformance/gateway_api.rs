//! The kinds of the Gateway API, of the release that the suite belongs to.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cluster::{go, kubectl, places::Places, programs};

/// The kinds in the cluster.
#[derive(Debug)]
pub(super) struct Kinds {
    /// What they were made of; `None`: they were there.
    made_of: Option<PathBuf>,
}

/// Makes the standard channel's kinds, unless there are some: the suite refuses those of another release.
pub(super) fn make(places: &Places) -> Result<Kinds> {
    if !kubectl::ask(places, &["get", "customresourcedefinition", A_KIND, "--ignore-not-found", "-o", "name"])
        .is_empty()
    {
        return Ok(Kinds { made_of: None });
    }
    let module = go::sources_of(places, programs::CONFORMANCE_MODULE, "sigs.k8s.io/gateway-api")?;
    let folder = module.join("config/crd/standard");
    // Server-side: the kinds are longer than an annotation may be.
    kubectl::run(places, &["apply", "--server-side", "-f", folder.to_str().context("a path that is not UTF-8")?])?;
    let kinds = Kinds { made_of: Some(folder) };
    let established = ["wait", "--for=condition=Established", "customresourcedefinition", "--all", "--timeout=60s"];
    match kubectl::run(places, &established) {
        Ok(()) => Ok(kinds),
        Err(error) => kinds.remove(places).and(Err(error)),
    }
}

impl Kinds {
    /// Removes what [`make`] made: other tests have a cluster without the kinds, to begin with.
    pub(super) fn remove(self, places: &Places) -> Result<()> {
        let Some(folder) = self.made_of else { return Ok(()) };
        let folder = folder.to_str().context("a path that is not UTF-8")?;
        kubectl::run(places, &["delete", "--ignore-not-found", "-f", folder])
    }
}

const A_KIND: &str = "httproutes.gateway.networking.k8s.io";
