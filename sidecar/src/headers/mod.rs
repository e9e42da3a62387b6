//! Header fields that the mesh writes, believes or removes: who sent a request, and that a workload ends.

mod asserted;
mod client;
pub(crate) mod leaving;
pub(crate) mod trailers;

pub(crate) use asserted::{Asserted, ClientCertHeaders};
pub(crate) use client::{ClientHeaders, ClientNames};
pub(crate) use leaving::Leaving;
