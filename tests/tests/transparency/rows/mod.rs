//! The rows, by what they are about.

mod bytes;
mod http1;
mod programs;
mod silence;
mod web;
