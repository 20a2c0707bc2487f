//! [`Order`]: in which order an export has its blocks.

use std::cmp::Reverse;

use crate::repo::Block;
use crate::rng::Rng;

/// An order of blocks in a CAR file; any order is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The commit, then the tree in pre-order with each record at its place: what the specification prefers.
    PreOrder,
    /// As the reference PDS exports: newest revision first, then CIDs as text, descending.
    Pds,
    /// Shuffled with this seed.
    Shuffled(u64),
}

impl Order {
    /// Puts blocks that are in pre-order into this order.
    pub(crate) fn apply(self, blocks: &mut [Block<'_>]) {
        match self {
            Self::PreOrder => {}
            // Few blocks share a revision, so few CIDs are ever turned into text.
            Self::Pds => blocks.sort_by(|a, b| {
                let revs = Reverse(a.rev).cmp(&Reverse(b.rev));
                revs.then_with(|| b.cid.to_string().cmp(&a.cid.to_string()))
            }),
            Self::Shuffled(seed) => Rng::new(seed).shuffle(blocks),
        }
    }
}
