//! One module a command. Each returns how the program is to end; errors carry what to do next.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod cluster_args;
pub(crate) mod completion;
pub(crate) mod explain;
pub(crate) mod inject;
pub(crate) mod install;
pub(crate) mod render;
pub(crate) mod run;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
pub(crate) mod version;
