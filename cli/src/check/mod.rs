//! Is a mesh well? What is asked ([`pages`]), what is found in the answers ([`judge`]), and how that is printed ([`report`]).
//!
//! Looking and judging are apart: what is said depends on what was seen alone, and has tests without a mesh.

pub(crate) mod finding;
pub(crate) mod judge;
pub(crate) mod pages;
pub(crate) mod report;
