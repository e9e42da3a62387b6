//! Which kinds are watched, and how each is asked for.

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::Config;
use outrigger_proto::model::RouteKind;

use crate::objects::{Kind, PolicyKind};

/// A kind that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) kind: Kind,
    group: &'static str,
    /// The best first.
    versions: &'static [&'static str],
    plural: &'static str,
    /// Whether every cluster has it.
    pub(super) built_in: bool,
    /// Whether its metadata says all that is read.
    pub(super) metadata_only: bool,
    fields: Option<&'static str>,
}

impl Watched {
    const fn built_in(kind: Kind, group: &'static str, plural: &'static str) -> Self {
        Self { kind, group, versions: &["v1"], plural, built_in: true, metadata_only: false, fields: None }
    }

    const fn custom(kind: Kind, group: &'static str, versions: &'static [&'static str], plural: &'static str) -> Self {
        Self { kind, group, versions, plural, built_in: false, metadata_only: false, fields: None }
    }

    const fn metadata_only(self) -> Self {
        Self { metadata_only: true, ..self }
    }

    const fn fields(self, fields: &'static str) -> Self {
        Self { fields: Some(fields), ..self }
    }

    /// Finds the best version that the cluster serves; `None` when it serves none.
    pub(super) async fn find(&self, client: &Client) -> Result<Option<ApiResource>, kube::Error> {
        if self.built_in {
            return Ok(self.versions.first().map(|version| self.resource(version)));
        }
        // Asked for by its own path, a group that is not there is an answer in plain text, which the client logs as broken.
        let groups = client.list_api_groups().await?;
        let Some(group) = groups.groups.iter().find(|group| group.name == self.group) else { return Ok(None) };
        for version in self.versions {
            if !group.versions.iter().any(|served| served.version == *version) {
                continue;
            }
            let list = client.list_api_group_resources(&format!("{}/{version}", self.group)).await?;
            if list.resources.iter().any(|resource| resource.name == self.plural) {
                return Ok(Some(self.resource(version)));
            }
        }
        Ok(None)
    }

    /// Returns what is asked for, and how much of it at a time.
    pub(super) fn config(&self) -> Config {
        let config = Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
        match self.fields {
            Some(fields) => config.fields(fields),
            None => config,
        }
    }

    fn resource(&self, version: &str) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, version, &self.kind.to_string());
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }
}

/// All of them. A pod that has run to its end is of no use to anybody, and there may be many.
pub(super) static WATCHED: [Watched; 12] = [
    Watched::built_in(Kind::Namespace, "", "namespaces").metadata_only(),
    Watched::built_in(Kind::Node, "", "nodes").metadata_only(),
    Watched::built_in(Kind::Service, "", "services"),
    Watched::built_in(Kind::EndpointSlice, "discovery.k8s.io", "endpointslices"),
    Watched::built_in(Kind::Pod, "", "pods").fields("status.phase!=Succeeded,status.phase!=Failed"),
    Watched::custom(Kind::Workload, "outrigger.io", &["v1alpha1"], "workloads"),
    Watched::custom(Kind::Route(RouteKind::Http), GATEWAY, &["v1", "v1beta1"], "httproutes"),
    Watched::custom(Kind::Route(RouteKind::Grpc), GATEWAY, &["v1", "v1alpha2"], "grpcroutes"),
    Watched::custom(Kind::Route(RouteKind::Tls), GATEWAY, &["v1", "v1alpha3", "v1alpha2"], "tlsroutes"),
    Watched::custom(Kind::Route(RouteKind::Tcp), GATEWAY, &["v1", "v1alpha2"], "tcproutes"),
    Watched::custom(Kind::Policy(PolicyKind::Traffic), "outrigger.io", &["v1alpha1"], "trafficpolicies"),
    Watched::custom(Kind::Policy(PolicyKind::Backend), EXPERIMENTAL, &["v1alpha1"], "xbackendtrafficpolicies"),
];

const GATEWAY: &str = "gateway.networking.k8s.io";
const EXPERIMENTAL: &str = "gateway.networking.x-k8s.io";

/// A page of pods is some megabytes of JSON at most.
const PAGE: u32 = 100;

/// A watch on a connection that has died without a word is noticed after so long.
const WATCH_SECONDS: u32 = 120;
