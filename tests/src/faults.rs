//! What faults may cost: the table, the plan of faults that a seed stands for, and the judge who matches each failed message to a fault
//! and to a row of the table. docs/reliability.md is made of the same table.

mod drift;
mod judge;
mod message;
mod page;
mod plan;
mod table;

use std::time::Duration;

pub use drift::{quantile, theil_sen};
pub use judge::{Happened, Verdict, judge, worked_on_twice};
pub use message::{Kind, Message, Service, read};
pub use page::page;
pub use plan::{Plan, Planned};
pub use table::{Fault, Row, TABLE, Target, When};

/// How long a client of the test waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
