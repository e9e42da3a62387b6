//! HTTP/1, held against hyper, httparse and a naive reader.

pub mod heads;
pub mod reference;
pub mod response;
pub mod sequence;
pub mod server;
pub mod view;
pub mod writer;
