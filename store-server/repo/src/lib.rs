//! AT Protocol repositories, verified: CAR framing, block hashes, DAG-CBOR, commits and the Merkle search tree.
//!
//! This crate must never do I/O of its own, read a clock, know a network or a runtime: bytes come from a
//! [`Read`](std::io::Read) or a [`BlockSource`] that the caller owns. All input is hostile. Nothing here panics
//! on bytes, allocates for a length nobody has checked, or recurses on depth an attacker chooses; every refusal
//! is an [`Error`] that says what is wrong and where. The importer and the exporter of the store call it.
//!
//! An import goes through the types in this order:
//!
//! 1. [`CarBlocks`] cuts a CAR into [`RawBlock`]s, or into [`RawChunk`]s of many, in whatever order the file has them
//!    (rules CA1–CA7).
//! 2. [`RawBlock::verify`] is the only way to a [`VerifiedBlock`], and [`RawChunk::verify`] to a [`VerifiedChunk`]: the
//!    bytes hash to the CIDs (CA4).
//! 3. [`Commit::parse`] reads the root block (CM1, CM2).
//! 4. [`walk()`] goes through the tree from `commit.data` and reports each record's path and CID (MT1–MT5).
//!    Only this shows what the blocks are, and whether any is missing (CA3, CA5, CA6).
//! 5. [`cbor::validate`] judges a record's encoding (DR1, DR2).
//! 6. [`check_signature`] asks the key of a [`DidDocument`] whether the commit is its holder's (CM2–CM4).
//!
//! What leaves goes the other way: a [`TreePlan`] is made from sorted rows (MT6), and [`export()`] and [`prove`] write
//! CARs from it; [`verify_proof`] checks what `prove` made (EX3). [`diff()`] compares two trees (DF1).
//!
//! Rule ids (CA…, CM…, MT…, DR…, DF…, EX…, RC…, NW…) name the duties listed in the project's AT Protocol notes.

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
        reason = "a test's own bytes are not hostile, and its panic is its verdict"
    )
)]

pub mod block;
pub mod car;
pub mod cbor;
pub mod commit;
mod cursor;
pub mod did_document;
pub mod diff;
pub mod error;
pub mod export;
pub mod hash;
pub mod key;
pub mod mst;
pub mod proof;
pub mod walk;

#[cfg(test)]
mod kit;

pub use block::{
    BlockIndex, BlockPlace, BlockSet, ChunkMemory, Found, RawBlock, RawChunk, VerifiedBlock,
    VerifiedChunk, VerifiedRef,
};
pub use car::{CarBlocks, CarLimits};
pub use commit::{AnyCommit, Commit, LegacyCommit, SignatureVerdict, check_signature};
pub use did_document::DidDocument;
pub use diff::diff;
pub use error::{Error, ErrorKind, Result};
pub use export::export;
pub use key::{PublicKey, SignatureFault};
pub use mst::build::TreeBuilder;
pub use mst::plan::{RebuiltNodes, Rows, TreePlan};
pub use proof::{prove, verify_proof};
pub use walk::{BlockSource, WalkStats, WalkedRecord, walk};
