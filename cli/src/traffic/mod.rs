//! Traffic as the control plane saw it: one document, and what `stat`, `top` and `graph` make of it. Pure functions, but for [`source`].

pub(crate) mod edges;
pub(crate) mod empty;
pub(crate) mod graph;
pub(crate) mod rows;
pub(crate) mod source;
pub(crate) mod table;
