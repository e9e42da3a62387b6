//! The request level: everything between a decoded request and an endpoint's connection, as tower layers.

mod admit;
mod asserted;
mod body;
mod call;
mod client_headers;
mod dispatch;
mod farewell;
mod fault;
pub(crate) mod grants;
mod host;
mod hygiene;
mod mirror;
mod observe;
mod onward;
mod respond;
mod retry;
mod routing;
mod server;
mod timeout;
mod trailers;
mod upgrade;

pub(crate) use admit::Admit;
pub(crate) use asserted::{Asserted, ClientCertHeaders};
pub(crate) use body::Body;
pub(crate) use call::{Attempt, Direction, Facts, Flow, To};
pub(crate) use client_headers::{ClientHeaders, ClientNames};
pub(crate) use dispatch::{Dispatch, Wire};
pub(crate) use farewell::farewell;
pub(crate) use hygiene::HygieneLayer;
pub(crate) use mirror::Mirrors;
pub(crate) use observe::{End, Observe, Outcome};
pub(crate) use respond::RespondLayer;
#[cfg(feature = "fuzzing")]
pub(crate) use retry::Replay;
pub(crate) use retry::{Budget, RetryLayer};
pub(crate) use routing::RoutingLayer;
pub(crate) use server::{Server, Version};
pub(crate) use timeout::TimeoutLayer;
