//! What the commands of `outrigger` have in common, the demo's included: [`output`] is the only place that prints, [`exit`] is how
//! commands end, and [`get`] reads an admin page.

pub mod exit;
pub mod get;
pub mod output;
