//! [`Ancestors`]: the posts that a post answers.

use crate::types::{RecordData, Source};

/// The posts that a post answers, as far as the store holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct Ancestors {
    /// The parent first, each with where it is from.
    pub nodes: Vec<(Source, RecordData)>,
    /// Why there are not more.
    pub end: AncestorsEnd,
}

/// Why there are not more ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AncestorsEnd {
    /// The last one answers nothing.
    Root,
    /// The store does not hold the next one, or it is not this session's to read: what the last one says that it
    /// answers. That is somebody's text and need not be an AT-URI.
    Missing(String),
    /// There is at least one more than were asked for, or than fit into an answer; ask for those of the last one.
    Max,
    /// The next one is among them already.
    Loop,
    /// The record asked for is not held.
    Absent,
    /// A server that is newer than this client said something else.
    Unknown,
}
