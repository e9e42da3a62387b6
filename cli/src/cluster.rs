//! What commands want of a cluster, as plain options: [`kubernetes`](crate::kubernetes) does it.

use std::path::PathBuf;
use std::time::Duration;

use outrigger_console::output::Format;

use crate::installation::Values;

/// Which cluster, and where in it the mesh is.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The file; without it, what the environment names.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Of the kubeconfig; without it, the current one.
    pub(crate) context: Option<String>,
    /// The namespace of the mesh itself.
    pub(crate) mesh_namespace: String,
    /// How long to wait for things to happen.
    pub(crate) timeout: Duration,
}

/// An install.
#[derive(Debug)]
pub(crate) struct Install {
    pub(crate) target: Target,
    pub(crate) values: Values,
    /// Also when a check beforehand finds errors.
    pub(crate) skip_checks: bool,
    /// Take over fields that others have set.
    pub(crate) force_conflicts: bool,
}

/// An upgrade.
#[derive(Debug)]
pub(crate) struct Upgrade {
    pub(crate) target: Target,
    /// What changes.
    pub(crate) values: Values,
    /// Forget the values of the install and of earlier upgrades.
    pub(crate) reset_values: bool,
    /// Take over fields that others have set.
    pub(crate) force_conflicts: bool,
}

/// An uninstall.
#[derive(Debug)]
pub(crate) struct Uninstall {
    pub(crate) target: Target,
    /// Also when it is still in use.
    pub(crate) force: bool,
}

/// How objects that users write are applied.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) target: Target,
    /// Of objects that name none; without it, the context's.
    pub(crate) namespace: Option<String>,
    /// Take over fields that others have set.
    pub(crate) force_conflicts: bool,
    /// Until every sidecar that subscribes has the routes in force.
    pub(crate) wait: bool,
    /// Output format of the result.
    pub(crate) format: Format,
}

/// A check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) target: Target,
    pub(crate) scope: Scope,
}

/// What is checked.
#[derive(Debug)]
pub(crate) enum Scope {
    /// Whether the mesh could be installed.
    BeforeInstall,
    /// The mesh, and the pods of all namespaces.
    Everything,
    /// The mesh, and the pods of one namespace.
    Namespace(String),
}
