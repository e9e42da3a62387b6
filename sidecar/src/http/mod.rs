//! The request level: everything between a decoded request and an endpoint's connection, as tower layers.

mod admit;
mod call;
mod dispatch;
mod farewell;
mod fault;
mod host;
mod hygiene;
mod mirror;
mod observe;
mod respond;
mod response_body;
mod retry;
mod routing;
mod server;
mod timeout;
mod upgrade;

pub(crate) use admit::Admit;
#[cfg(test)]
pub(crate) use call::Call;
pub(crate) use call::To;
pub(crate) use dispatch::Dispatch;
pub(crate) use farewell::farewell;
pub(crate) use hygiene::HygieneLayer;
pub(crate) use mirror::Mirrors;
pub(crate) use observe::Observe;
pub(crate) use respond::RespondLayer;
pub(crate) use response_body::ResponseBody;
pub(crate) use retry::RetryLayer;
pub(crate) use routing::RoutingLayer;
pub(crate) use server::{Server, Version};
pub(crate) use timeout::TimeoutLayer;
