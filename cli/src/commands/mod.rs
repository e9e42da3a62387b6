//! One module a command. Each returns how the program is to end; errors carry what to do next.
//! No command uses another: what several need lies beside this folder.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod inject;
pub(crate) mod install;
pub(crate) mod run;
pub(crate) mod stat;
pub(crate) mod top;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
pub(crate) mod version;
