//! Installing and upgrading: render, look first, apply, wait, check.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Output, Stream};
use serde_json::{Map, Value};

use super::objects::name;
use super::{Cluster, check};
use crate::cluster::{Install, Upgrade};
use crate::installation::{self, MANAGER, RECORD};

/// `outrigger install`.
pub(crate) async fn install(options: &Install, output: &Output) -> anyhow::Result<Exit> {
    let changes = options.values.changes()?;
    let cluster = Cluster::connect(&options.target).await?;
    let objects = installation::objects(&cluster.namespace, &changes)?;
    match cluster.manager().await? {
        Some(manager) if manager == MANAGER => output.line(
            Stream::Stderr,
            "it is installed already: bringing it to what is asked for now (`outrigger upgrade` keeps earlier values)",
        ),
        Some(manager) => return Err(someone_elses(&cluster, &manager)),
        None => {}
    }
    if !options.skip_checks && check::before_install(&cluster, output).await? == Exit::No {
        let hint = "mend what it names, or install anyway with --skip-checks";
        return Err(Failure {
            message: "the cluster is not ready for an install".into(),
            hint: Some(hint.into()),
            exit: Exit::No,
        }
        .into());
    }
    output
        .line(Stream::Stderr, &format!("installing Outrigger {} in {}", outrigger_daemon::VERSION, cluster.namespace));
    cluster.bring(&changes, &objects, options.force_conflicts, output).await
}

/// `outrigger upgrade`.
pub(crate) async fn upgrade(options: &Upgrade, output: &Output) -> anyhow::Result<Exit> {
    let asked = options.values.changes()?;
    let cluster = Cluster::connect(&options.target).await?;
    let mut changes = match cluster.recorded().await? {
        Some(_) if options.reset_values => Value::Object(Map::new()),
        Some(recorded) => recorded,
        None => {
            let hint = "`outrigger install` installs it; what Helm installed is upgraded by Helm";
            return Err(Failure::new(
                format!("`outrigger install` made nothing in namespace {}", cluster.namespace),
                hint,
            )
            .into());
        }
    };
    installation::merge_all(&mut changes, &asked);
    let instance = installation::instance(changes["revision"].as_str().unwrap_or_default());
    if instance != cluster.instance().await? {
        let hint = "install the other revision in a namespace of its own";
        return Err(Failure::new("the revision of an install cannot be changed", hint).into());
    }
    let objects = installation::objects(&cluster.namespace, &changes)?;
    output.line(Stream::Stderr, &format!("upgrading {} to Outrigger {}", cluster.namespace, outrigger_daemon::VERSION));
    cluster.bring(&changes, &objects, options.force_conflicts, output).await
}

/// A mesh that another tool made belongs to that tool.
pub(super) fn someone_elses(cluster: &Cluster, manager: &str) -> anyhow::Error {
    let message = format!("the mesh in namespace {} is managed by {manager:?}", cluster.namespace);
    Failure::new(message, "upgrade and uninstall it with the tool that installed it").into()
}

impl Cluster {
    /// Makes the cluster have these objects and no others of this mesh, waits for the Deployments, and checks.
    async fn bring(&self, changes: &Value, objects: &[Value], force: bool, output: &Output) -> anyhow::Result<Exit> {
        // An upgrade records its values when they have been seen to work: after one that failed, the next starts from those before.
        let (record, rest): (Vec<Value>, Vec<Value>) =
            objects.iter().cloned().partition(|object| object["kind"] == "ConfigMap" && name(object) == RECORD);
        let first = self.recorded().await?.is_none();
        self.apply(&rest, force, output).await?;
        if first {
            self.apply(&record, force, output).await?;
        }
        let instance = installation::instance(changes["revision"].as_str().unwrap_or_default());
        self.prune(&instance, objects, output).await?;
        let deployments: Vec<String> = objects
            .iter()
            .filter(|object| object["kind"] == "Deployment")
            .map(|object| name(object).to_owned())
            .collect();
        self.wait_for_deployments(&deployments, output).await?;
        if !first {
            self.apply(&record, force, output).await?;
        }
        check::after_install(self, output).await
    }

    /// Who made the mesh in this namespace, if there is one.
    pub(super) async fn manager(&self) -> anyhow::Result<Option<String>> {
        self.label("app.kubernetes.io/managed-by").await
    }

    /// What tells the objects of the mesh in this namespace from those of another.
    pub(super) async fn instance(&self) -> anyhow::Result<String> {
        Ok(self.label("app.kubernetes.io/instance").await?.unwrap_or_else(|| installation::instance("")))
    }

    /// A label of the control plane, if there is one.
    async fn label(&self, label: &str) -> anyhow::Result<Option<String>> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let there = deployments.get_metadata_opt(CONTROL_PLANE).await;
        let there =
            there.map_err(|error| self.failure(&format!("cannot look into namespace {}", self.namespace), error))?;
        Ok(there.map(|there| {
            let labels = there.metadata.labels.unwrap_or_default();
            labels.get(label).cloned().unwrap_or_default()
        }))
    }

    /// What differed from the chart's values when the mesh was installed or upgraded last.
    pub(super) async fn recorded(&self) -> anyhow::Result<Option<Value>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let record = maps.get_opt(RECORD).await;
        let record = record.map_err(|error| self.failure(&format!("cannot read configmap/{RECORD}"), error))?;
        let Some(record) = record else { return Ok(None) };
        let values = record.data.and_then(|data| data.get("values.json").cloned()).unwrap_or_default();
        let values = serde_json::from_str(&values);
        Ok(Some(values.map_err(|error| {
            let hint = "give the values again with --reset-values, or mend it";
            Failure::new(format!("configmap/{RECORD} does not have the values: {error}"), hint)
        })?))
    }
}

const CONTROL_PLANE: &str = "outrigger-control-plane";
