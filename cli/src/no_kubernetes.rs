//! What [`kubernetes`](crate::kubernetes) is in a build without a Kubernetes client: each of its functions says so, and what to do.

use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::Output;
use serde_json::Value;

use crate::check::finding::Category;
use crate::cluster::{Change, Check, Install, Target, Uninstall, Upgrade};

pub(crate) async fn install(_: &Install, _: &Output) -> anyhow::Result<Exit> {
    Err(not_in_this_build())
}

pub(crate) async fn upgrade(_: &Upgrade, _: &Output) -> anyhow::Result<Exit> {
    Err(not_in_this_build())
}

pub(crate) async fn uninstall(_: &Uninstall, _: &Output) -> anyhow::Result<Exit> {
    Err(not_in_this_build())
}

pub(crate) async fn change(_: &Change, _: Vec<Value>, _: &Output) -> anyhow::Result<Exit> {
    Err(not_in_this_build())
}

pub(crate) async fn check(_: &Check) -> anyhow::Result<Vec<Category>> {
    Err(not_in_this_build())
}

pub(crate) async fn control_plane_page(_: &Target, _: &str) -> anyhow::Result<Value> {
    Err(not_in_this_build())
}

pub(crate) async fn default_namespace(_: &Target) -> anyhow::Result<String> {
    Err(not_in_this_build())
}

/// None that this build could use.
pub(crate) async fn is_at_hand() -> bool {
    false
}

/// None that this build could use.
pub(crate) fn is_named_by_environment() -> bool {
    false
}

fn not_in_this_build() -> anyhow::Error {
    Failure::new(
        "this build of outrigger has no Kubernetes client",
        "use a released one, or build it: cargo build --release --package outrigger-cli --features kubernetes",
    )
    .into()
}
