//! What a query came to.

use carrack_schema::Value;

use crate::types::{Absent, RecordData, Source};

/// What a query came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<Row>,
    /// Why there are not more.
    pub ended: Ended,
    /// Repos that were read: those that rows name by number, and as many of the others as there was room for.
    pub sources: Vec<Source>,
    /// How many were read.
    pub repos: u32,
    /// What lists name and the store does not hold, the first of them.
    pub absent: Vec<Missing>,
    /// What each step cost.
    pub steps: Vec<Cost>,
    /// Bytes of the answer on the wire.
    pub bytes: u32,
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Of a group, of a count, and of a record that was mapped from one; else 0.
    pub count: u64,
    /// What it is.
    pub what: What,
}

/// What a row is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A count, no more.
    Count,
    /// A record.
    Record {
        /// Index of its repo among the answer's sources.
        source: usize,
        /// The record.
        record: RecordData,
    },
    /// A record that the store does not hold, or that is not this session's to read.
    Absent {
        /// Its name.
        uri: String,
        /// What of it is missing.
        hop: Absent,
    },
    /// The value of a group.
    Value(Value),
}

/// Why there are not more rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A server newer than this client has another reason.
    Unknown,
    /// These are all.
    Complete,
    /// The answer may have no more rows.
    Rows,
    /// The answer may have no more bytes.
    Bytes,
    /// The steps may look at no more rows; what is counted is what was found until then, as with all below.
    Work,
    /// The time was over.
    Time,
    /// The plan had to keep more apart than the server allows.
    Memory,
    /// The plan reached more repos than the server allows.
    Repos,
}

impl Ended {
    /// Returns the reason's text, camelCase.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Complete => "complete",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Work => "work",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Repos => "repos",
        }
    }
}

/// What a list names and the store does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The list's number, from 1.
    pub step: u16,
    /// The repo's DID.
    pub repo: String,
    /// What of it is missing.
    pub hop: Absent,
}

/// What a step cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows it took.
    pub rows_in: u64,
    /// Rows it gave.
    pub rows_out: u64,
    /// Rows it looked at or up.
    pub work: u64,
    /// Microseconds on the server, without the steps it takes rows from.
    pub micros: u64,
}

impl Row {
    /// Returns the value of a group.
    pub fn value(&self) -> Option<&Value> {
        match &self.what {
            What::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the record, if it is one that is held.
    pub fn record(&self) -> Option<&RecordData> {
        match &self.what {
            What::Record { record, .. } => Some(record),
            _ => None,
        }
    }
}

impl Answer {
    /// Returns the at-URI of a row's record, held or not.
    pub fn uri(&self, row: &Row) -> Option<String> {
        match &row.what {
            What::Record { source, record } => {
                let did = &self.sources.get(*source)?.did;
                Some(format!("at://{did}/{}/{}", record.collection, record.rkey))
            }
            What::Absent { uri, .. } => Some(uri.clone()),
            What::Count | What::Value(_) => None,
        }
    }
}
