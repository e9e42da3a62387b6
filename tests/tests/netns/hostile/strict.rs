//! The app by the letter, where the tables of this folder look for it.

pub(super) use outrigger_tests::attack::strict::Strict;
