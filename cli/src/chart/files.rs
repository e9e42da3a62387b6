//! The files of the charts, as this binary carries them; a test compares the lists with the folders.

/// A file of a chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
}

macro_rules! chart {
    ($chart:literal: $($path:literal)*) => {
        &[$(File {
            path: $path,
            text: include_str!(concat!("../../../deploy/charts/", $chart, "/", $path)),
        }),*]
    };
}

pub(super) const CRDS: &[File] = chart!("outrigger-crds":
    "Chart.yaml"
    "values.schema.json"
    "values.yaml"
    "templates/trafficpolicies.yaml"
    "templates/workloads.yaml"
);

pub(super) const MESH: &[File] = chart!("outrigger":
    "Chart.yaml"
    "values.schema.json"
    "values.yaml"
    "templates/_helpers.tpl"
    "templates/control-plane-account.yaml"
    "templates/control-plane-disruption.yaml"
    "templates/control-plane-monitors.yaml"
    "templates/control-plane-network.yaml"
    "templates/control-plane-rbac.yaml"
    "templates/control-plane-service.yaml"
    "templates/control-plane.yaml"
    "templates/injector-account.yaml"
    "templates/injector-disruption.yaml"
    "templates/injector-monitors.yaml"
    "templates/injector-network.yaml"
    "templates/injector-rbac.yaml"
    "templates/injector-service.yaml"
    "templates/injector-webhook.yaml"
    "templates/injector.yaml"
    "templates/sidecar-monitors.yaml"
);
