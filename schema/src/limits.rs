//! Every limit, its reason and its arithmetic. Bytes unless the name says otherwise.
//!
//! A limit is checked before anything is allocated for what it bounds, and tested at the limit and one beyond.

/// Bytes in one KiB.
pub const KIB: usize = 1 << 10;
/// Bytes in one MiB.
pub const MIB: usize = 1 << 20;

// --- CAR files

/// Longest CAR header. A header is a version and a list of roots; one root makes 58 bytes.
pub const CAR_HEADER_BYTES_MAX: usize = 4 * KIB;
/// Longest CAR section (CID and block). A record is at most 1 MiB and an MST node of [`MST_NODE_ENTRIES_MAX`]
/// entries far less; iroh-car itself stops at 4 MiB.
pub const CAR_SECTION_BYTES_MAX: usize = 2 * MIB;
/// Longest CAR. The largest real repos hold single-digit millions of records at about 400 bytes each.
pub const CAR_BYTES_MAX: u64 = 8 << 30;
/// Most blocks in a CAR: a block takes at least 38 bytes, so this bounds the block index, not the file.
pub const CAR_BLOCKS_MAX: usize = 32 << 20;

// --- DAG-CBOR

/// Deepest nesting of lists and maps in a record (AT Protocol data model).
pub const CBOR_DEPTH_MAX: usize = 32;
/// Most entries in one list or map (AT Protocol data model).
pub const CBOR_CONTAINER_MAX: u64 = 131_072;
/// Longest map key (AT Protocol data model).
pub const CBOR_KEY_BYTES_MAX: u64 = 8_192;
/// Longest binary CID in a link (AT Protocol data model).
pub const CBOR_CID_BYTES_MAX: u64 = 100;
/// Longest record block (AT Protocol: 1 MiB).
pub const RECORD_BYTES_MAX: usize = MIB;
/// Longest commit block. Six fields make about 220 bytes; unknown fields are tolerated, not unbounded.
pub const COMMIT_BYTES_MAX: usize = 16 * KIB;

// --- MST

/// Most entries in one MST node. The mean is under 4, three real repos showed 34 at most; one public parser
/// stops at 200. An attacker who mines keys of one depth gets this far and no further.
pub const MST_NODE_ENTRIES_MAX: usize = 1_024;
/// Deepest MST: a key's depth is half the leading zero bits of a 256-bit hash.
pub const MST_DEPTH_MAX: u8 = 128;
/// Longest MST key: a collection, a slash, a record key.
pub const MST_KEY_BYTES_MAX: usize =
    crate::names::NSID_BYTES_MAX + 1 + crate::names::RECORD_KEY_BYTES_MAX;

// --- segments

/// Rows a page aims to hold at most.
pub const PAGE_ROWS_MAX: usize = 4_096;
/// Bytes a page aims for; a page with one larger record is larger.
pub const PAGE_BYTES_TARGET: usize = 256 * KIB;
/// Longest page: one record of the longest CAR section with the page's own frame, which is far below 64 KiB.
pub const PAGE_BYTES_MAX: usize = CAR_SECTION_BYTES_MAX + 64 * KIB;
const _: () = assert!(PAGE_BYTES_MAX > PAGE_BYTES_TARGET + 64 * KIB);

// --- imports

/// Bytes of an import's blocks kept in memory before the rest goes to a file in `DATA/tmp`.
pub const IMPORT_MEMORY_BYTES: usize = 64 * MIB;
/// Imports that run at the same time; each has a thread of its own.
pub const IMPORTS_MAX: usize = 4;
/// Chunks of an upload that wait for the import's thread.
pub const IMPORT_CHUNKS_QUEUED_MAX: usize = 4;

/// How far in the future a commit's rev may be, in microseconds: five minutes, for clocks that differ.
pub const REV_AHEAD_MICROS_MAX: u64 = 5 * 60 * 1_000_000;

// --- RPC

/// Largest message a server reads: 8-byte words, 2 MiB. A header alone makes the library allocate.
pub const SERVER_MESSAGE_WORDS_MAX: usize = 256 << 10;
/// Largest message a client reads: 8-byte words, 8 MiB; a page and its largest record fit.
pub const CLIENT_MESSAGE_WORDS_MAX: usize = 1 << 20;
/// Longest chunk of a streamed CAR.
pub const CHUNK_BYTES_MAX: usize = 256 * KIB;
/// Bytes on the way in one stream before the sender waits.
pub const STREAM_WINDOW_BYTES: usize = 4 * MIB;
/// Connections of all peers at once; each costs buffers of 2 × 64 KiB.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Records a page of a listing holds when the caller names no limit.
pub const LIST_RECORDS_DEFAULT: u32 = 100;
/// Most records in one page of a listing.
pub const LIST_RECORDS_MAX: u32 = 1_000;
/// Bytes of record values after which a page of a listing ends; the record that crosses it is still in.
pub const LIST_BYTES_MAX: usize = 512 * KIB;
/// Most nodes in one [`Value`](crate::Value) on the wire, at 16 bytes each. A larger record is read as DAG-CBOR.
pub const VALUE_NODES_MAX: usize = 65_536;
// A page's last record may be the largest: 16 bytes a node, 16 a text pointer, and its own bytes.
const _: () = assert!(
    LIST_BYTES_MAX * 3 + VALUE_NODES_MAX * 32 + RECORD_BYTES_MAX < CLIENT_MESSAGE_WORDS_MAX * 8
);
/// Longest cursor: a seal, a revision and an MST key.
pub const CURSOR_BYTES_MAX: usize = 64 + MST_KEY_BYTES_MAX;
/// Most field paths in one projection.
pub const FIELDS_MAX: usize = 64;

// --- MCP

/// Bytes of text an answer holds when the caller names no limit.
pub const ANSWER_BYTES_DEFAULT: usize = 8 * KIB;
/// Most bytes of text in one answer.
pub const ANSWER_BYTES_MAX: usize = 64 * KIB;
/// Most references in one `at_get`.
pub const REFS_MAX: usize = 50;
