//! [`Bounds`]: how much one connection may take of the server, in bytes and in time. Plain data; the defaults and their
//! reasons are in `limits.rs`.

use std::time::Duration;

use carrack_schema::limits::{
    CALLS_MAX, INCOMING_BYTES_MAX, INCOMING_BYTES_TOTAL, LOGIN_SECONDS_MAX, MESSAGE_SECONDS_MAX,
    OBJECTS_MAX, PAUSE_SECONDS_MAX, PUSH_SECONDS_MAX, PUSHES_MAX, QUESTIONS_MAX, REPLY_BYTES_MAX,
    REPLY_BYTES_TOTAL, WRITE_SECONDS_MAX,
};

/// How much one connection may take of the server.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes that wait for the peer to take them.
    pub reply_bytes: usize,
    /// The same, over all connections of a server.
    pub reply_bytes_total: usize,
    /// Bytes that came in and are not processed.
    pub incoming_bytes: usize,
    /// The same, over all connections of a server.
    pub incoming_bytes_total: usize,
    /// Objects that the peer holds.
    pub objects: u32,
    /// Calls of one session under way.
    pub calls: u32,
    /// Exports and the like under way.
    pub pushes: u32,
    /// Questions that the peer has not finished.
    pub questions: usize,
    /// From a message's first byte to its last.
    pub message_time: Duration,
    /// From the beginning to the first session.
    pub login_time: Duration,
    /// In which the peer takes none of the bytes that wait for it.
    pub write_time: Duration,
    /// In which reading pauses and nothing that came in is done with.
    pub pause_time: Duration,
    /// In which the peer leaves a call of ours unanswered.
    pub push_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            reply_bytes: REPLY_BYTES_MAX,
            reply_bytes_total: REPLY_BYTES_TOTAL,
            incoming_bytes: INCOMING_BYTES_MAX,
            incoming_bytes_total: INCOMING_BYTES_TOTAL,
            objects: OBJECTS_MAX,
            calls: CALLS_MAX,
            pushes: PUSHES_MAX,
            questions: QUESTIONS_MAX,
            message_time: Duration::from_secs(MESSAGE_SECONDS_MAX),
            login_time: Duration::from_secs(LOGIN_SECONDS_MAX),
            write_time: Duration::from_secs(WRITE_SECONDS_MAX),
            pause_time: Duration::from_secs(PAUSE_SECONDS_MAX),
            push_time: Duration::from_secs(PUSH_SECONDS_MAX),
        }
    }
}
