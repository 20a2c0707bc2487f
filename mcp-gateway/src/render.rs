//! Rendering: from values to the text an agent reads.
//!
//! Pure and sync: no clock, no I/O, no store. One rule makes the text safe to read: within a line, all that follows
//! the first `> ` was written by a third party, and nothing that a third party wrote can start a line.

pub mod budget;
mod digest;
pub mod frame;
pub mod quote;
pub mod record;

pub use budget::Budget;
