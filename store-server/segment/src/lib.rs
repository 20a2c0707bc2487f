//! The immutable segment file engine: bytes in, bytes out.
//!
//! A segment is one file that is written once, front to back, then sealed, published under its final name and
//! never written again. It holds *pages* (opaque Cap'n Proto messages of some rows), perhaps a *dictionary* that they
//! share, and *extents* (rows that belong together, found by a byte-string key), each with an *index* from
//! `group + '/' + name` to the page and ordinal of a row. `FORMAT.md` beside this crate is the only description of the bytes.
//!
//! This crate must never know what a key or a page means, nor anything of RPC. Every byte it reads may be hostile:
//! damage is a typed [`Error`] that names file, section and extent, and never a panic. `unsafe` is in `map.rs`
//! only, `std::fs` in `directory/fs.rs` only.
//!
//! Reading starts at [`Segment::open`], writing at [`SegmentWriter::create`], both through a [`Directory`].

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

pub mod bits;
mod cache;
mod codec;
pub mod directory;
mod error;
mod footer;
pub mod format;
mod index;
mod index_builder;
mod map;
pub mod message;
mod name;
mod reader;
mod span;
mod writer;

pub use cache::{Page, PageCache};
pub use codec::Codec;
pub use directory::{Directory, File, Lock, fs::Fs};
pub use error::{Error, ErrorKind, Result};
pub use index::{Group, Index, Row};
pub use map::Map;
pub use name::Name;
pub use reader::{Extent, Fault, Part, Segment, Stored};
pub use writer::{Place, Sealed, SegmentWriter, Target};
