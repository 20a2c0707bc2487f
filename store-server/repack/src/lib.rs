//! The bridge between verified records and the pages of a segment: DAG-CBOR in, rows of Cap'n Proto pages out, and
//! the same DAG-CBOR back.
//!
//! It takes only verified blocks, and does no I/O: [`carrack_segment`] moves the bytes. A record is cut into its
//! [`shape`], what remains without the values at its ends, and those values, which stand in columns; shape and values are
//! the exact bytes. What would not come back the same, or is too rare to pay, is kept as it is. Writing starts at
//! [`PageBuilder`], reading at [`row::row`] and, for a whole column, [`row::groups`].

#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::arithmetic_side_effects,
        reason = "a test that panics has done its work"
    )
)]

pub mod dictionary;
mod group;
pub mod head;
#[cfg(test)]
mod kit;
mod leaf;
pub mod node_page;
pub mod page;
pub mod row;
pub mod shape;
pub mod value;

pub use dictionary::{Dictionary, DictionaryRef, Vocabulary};
pub use head::RepoHead;
pub use leaf::time::TimeForm;
pub use node_page::NodeScript;
pub use page::{PageBuilder, PageSink};
pub use row::{Field, PageError, RowRef, StoredRow};
