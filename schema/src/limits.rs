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
/// Most blocks in a CAR. An import's index of them takes 17 bytes each, 136 MiB at this limit, before the first
/// record is looked at; the largest real repos have single-digit millions.
pub const CAR_BLOCKS_MAX: usize = 8 << 20;

// --- DAG-CBOR

/// Deepest nesting of lists and maps in a record (AT Protocol data model).
pub const CBOR_DEPTH_MAX: usize = 32;
/// Most entries in one list or map (AT Protocol data model).
pub const CBOR_CONTAINER_MAX: u64 = 131_072;
/// Longest map key (AT Protocol data model).
pub const CBOR_KEY_BYTES_MAX: u64 = 8_192;
/// Longest binary CID in a link (AT Protocol data model).
pub const CBOR_CID_BYTES_MAX: u64 = 100;
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

/// Most collections in a repo. An answer lists them all: 10,000 of the longest names take 3.6 MB. Real repos have
/// some dozens.
pub const COLLECTIONS_MAX: usize = 10_000;
const _: () = assert!(
    COLLECTIONS_MAX * (crate::names::NSID_BYTES_MAX + 40) < CLIENT_MESSAGE_WORDS_MAX * 8 / 2
);

// --- segments

/// Rows a page aims to hold at most.
pub const PAGE_ROWS_MAX: usize = 4_096;
/// Bytes a page aims for; a page with one larger record is larger.
pub const PAGE_BYTES_TARGET: usize = 256 * KIB;
/// Longest page: one record of the longest CAR section with the page's own frame, which is far below 64 KiB.
pub const PAGE_BYTES_MAX: usize = CAR_SECTION_BYTES_MAX + 64 * KIB;
const _: () = assert!(PAGE_BYTES_MAX > PAGE_BYTES_TARGET + 64 * KIB);

/// Rows a compressed page aims to hold at most.
pub const COLD_PAGE_ROWS_MAX: usize = 16_384;
/// Bytes a compressed page aims for. One row costs to read what the page costs to decompress, about a millisecond.
pub const COLD_PAGE_BYTES_TARGET: usize = MIB;
const _: () = assert!(PAGE_BYTES_MAX > COLD_PAGE_BYTES_TARGET + 64 * KIB);
/// Bytes of records that wait for their pages while a segment is written, by shape, with what is known of them. Pages
/// fill well before: the thirty shapes that most records have hold 256 KiB of columns each.
pub const REPACK_MEMORY_BYTES: usize = 32 * MIB;

// --- catalog and merges

/// Revisions of a repo that stay readable, the current one among them.
pub const RETENTION_REVS: usize = 4;
/// Hours since its import in which a revision stays readable, however many came after: a reader that pages through a
/// busy repo has an hour.
pub const RETENTION_HOURS: u32 = 1;
/// Extents a repo may have beyond those that retention holds before a merge folds them.
pub const EXTENTS_UNRETAINED_MAX: usize = 4;
/// Most extents of a repo; at this many the oldest are folded, retained or not. A row of the catalog takes some 80
/// bytes for each, and a read may look into all of them.
pub const EXTENTS_MAX: usize = 64;
/// Extents that are left when those of a repo were too many.
pub const EXTENTS_FOLDED_TO: usize = 48;
const _: () = assert!(EXTENTS_FOLDED_TO < EXTENTS_MAX && RETENTION_REVS < EXTENTS_FOLDED_TO);
/// Hours after a deletion within which the deleted bytes are off the disk.
pub const PURGE_HOURS: u32 = 24;
/// Bytes that a merged segment aims for.
pub const SEGMENT_BYTES_TARGET: u64 = 256 << 20;
/// Segments of one size that a merge waits for. Each merge makes a segment of the next size, so a byte is written
/// about log₈ (target ÷ import) times: three times from 500 KiB to 256 MiB.
pub const MERGE_SEGMENTS_MIN: usize = 8;
/// Most segments that one merge takes in: each is a map that is open meanwhile.
pub const MERGE_SEGMENTS_MAX: usize = 4_096;
/// Bytes a second that merging in the background may write: a fraction of what any disk takes.
pub const MERGE_BYTES_PER_SECOND: u64 = 16 << 20;
/// Bytes of decompressed pages that a store keeps for whoever reads next.
pub const PAGE_CACHE_BYTES: usize = 64 * MIB;
/// Segments kept open. Each is a map; Linux gives a process 65,530 of them by default.
pub const SEGMENTS_OPEN_MAX: usize = 4_096;
/// Repos kept open for whoever reads next, some 1 KiB each. They hold their segments open too: one mostly, [`EXTENTS_MAX`]
/// at the most.
pub const SNAPSHOTS_MAX: usize = 256;
const _: () = assert!(SEGMENTS_OPEN_MAX + SNAPSHOTS_MAX * EXTENTS_MAX < 65_530 / 2);
/// How often an import starts over because the repo changed under it.
pub const IMPORT_ATTEMPTS_MAX: usize = 8;

// --- imports

/// Bytes of an import's blocks kept in memory before the rest goes to a file in `DATA/tmp`. A repo of 100,000 records
/// fits, and [`IMPORTS_MAX`] imports take 256 MiB at the most.
pub const IMPORT_MEMORY_BYTES: usize = 64 * MIB;
/// Imports that run at the same time; each has a thread of its own.
pub const IMPORTS_MAX: usize = 4;
/// Imports that wait for one of those to end.
pub const IMPORTS_WAITING_MAX: usize = 1_024;
/// Of them, those of one holder.
pub const IMPORTS_WAITING_PER_HOLDER_MAX: usize = 256;
/// Longest time an import waits for a place, in seconds; then it is refused as `overloaded`.
pub const IMPORT_WAIT_SECONDS_MAX: u64 = 30;
/// Longest time an upload may keep its place waiting for bytes while others wait for a place, in seconds altogether.
pub const IMPORT_STALL_SECONDS_MAX: u64 = 20;
/// Bytes of the disk that imports and backups leave free. Deleting and merging need room to write before they free any.
pub const DISK_FLOOR_BYTES: u64 = 256 << 20;
/// Chunks of an upload that wait for the import's thread.
pub const IMPORT_CHUNKS_QUEUED_MAX: usize = 4;

/// Longest time an upload may send nothing, in seconds; then its import is aborted and its place is free.
pub const IMPORT_IDLE_SECONDS_MAX: u64 = 60;
/// Exports that run at the same time; each has a thread of its own, and chunks of 1.5 MiB between it and its client.
pub const EXPORTS_MAX: usize = 16;
/// Chunks of an export that wait for the connection.
pub const EXPORT_CHUNKS_QUEUED_MAX: usize = 4;
/// Longest time that a client which is pushed records or bytes may acknowledge nothing, in seconds; then the push ends,
/// because it holds a snapshot and so keeps segments in memory.
pub const PUSH_SECONDS_MAX: u64 = 60;
/// Most records that are hashed for one proof: those of the nodes on its path. A node holds four on average, and a
/// million records make a path of ten nodes; only keys that were mined for their depth come near this.
pub const PROOF_RECORDS_MAX: u64 = 4_096;
/// How far in the future a commit's rev may be, in microseconds: five minutes, for clocks that differ.
pub const REV_AHEAD_MICROS_MAX: u64 = 5 * 60 * 1_000_000;

// --- RPC

/// Largest message a server reads: 8-byte words, 2 MiB. Memory is taken as its bytes come, not as its header says.
pub const SERVER_MESSAGE_WORDS_MAX: usize = 256 << 10;
/// Largest message a client reads: 8-byte words, 16 MiB; the assertion below does the arithmetic.
pub const CLIENT_MESSAGE_WORDS_MAX: usize = 2 << 20;
/// Longest chunk of a streamed CAR.
pub const CHUNK_BYTES_MAX: usize = 256 * KIB;
/// Bytes on the way in one stream before the sender waits.
pub const STREAM_WINDOW_BYTES: usize = 4 * MIB;
/// Connections of all peers at once. Each has a buffer of [`IO_BUFFER_BYTES`] each way, while bytes are on their way.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Connections by TCP at once. The rest is for unix sockets, so that no crowd shuts the owner out.
pub const CONNECTIONS_PUBLIC_MAX: usize = CONNECTIONS_MAX - 16;
/// Connections by TCP from one address, or from one /64 of IPv6: no one takes more than a quarter. Loopback counts as
/// one address, and a tunnel's or a proxy's clients all come from there; each of them may share one connection.
pub const CONNECTIONS_PEER_MAX: usize = CONNECTIONS_MAX / 4;
const _: () = assert!(CONNECTIONS_PEER_MAX < CONNECTIONS_PUBLIC_MAX);
/// Seconds of silence after which a TCP peer, of a server or of a client, is first asked whether it is there; a router on the
/// way forgets a silent connection after some minutes.
pub const KEEPALIVE_IDLE_SECONDS: u64 = 60;
/// Seconds between two such questions.
pub const KEEPALIVE_INTERVAL_SECONDS: u64 = 15;
/// Questions without an answer after which its connection ends: two minutes in all.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Logins that may fail on one connection; the last ends it. Who types a token in by hand errs less often.
pub const LOGINS_FAILED_MAX: u32 = 5;
/// Seconds in which a connection must be ready for its login: a TLS handshake takes two flights.
pub const LOGIN_SECONDS_MAX: u64 = 10;
/// Bytes that are read from a connection at once, and that are collected before they are written to it.
pub const IO_BUFFER_BYTES: usize = 64 * KIB;
/// Bytes of answers and of our own calls that wait for one peer to take them; beyond it nothing more is read from it. A
/// message that is made in many parts takes up to twice its bytes of memory.
pub const REPLY_BYTES_MAX: usize = 8 * MIB;
/// The same of all connections together, with what is set aside for answers that are being made; 32 connections that
/// take nothing fill it, for [`WRITE_SECONDS_MAX`] seconds, and who takes little is held to [`WRITE_BYTES_MIN`]. It is looked
/// at before each answer, so each worker may go over it by one. Beyond it a connection has what [`REPLY_BYTES_BEYOND`]
/// says.
pub const REPLY_BYTES_TOTAL: usize = 256 * MIB;
/// Bytes that may wait for a peer however much waits for others.
pub const REPLY_BYTES_MIN: usize = IO_BUFFER_BYTES;
/// Bytes that are set aside for an answer while it is made: as many as a page of a listing takes whose last record is no
/// longer than [`REPLY_BYTES_MIN`]. A longer answer counts as what it is, and there is none beyond the total.
pub const ANSWER_BYTES: usize = MIB;
const _: () = assert!(
    LIST_BYTES_MAX + LIST_RECORDS_MAX as usize * RECORD_FRAME_BYTES_MAX + REPLY_BYTES_MIN
        <= ANSWER_BYTES
);
/// Bytes that a connection comes to at the most however much waits for others: what may wait, then one chunk of a stream or
/// one answer that is made at once and is no longer, and beside them one answer for which bytes are set aside. Answers of
/// few words to calls that were held count as less than the calls did, and findings of checks are few. If all of
/// [`CONNECTIONS_MAX`] do their worst these are 1.3 GiB.
pub const REPLY_BYTES_BEYOND: usize = REPLY_BYTES_MIN + CHUNK_BYTES_MAX + ANSWER_BYTES;
const _: () = assert!(REPLY_BYTES_BEYOND < REPLY_BYTES_MAX && REPLY_BYTES_MAX < REPLY_BYTES_TOTAL);
const _: () = assert!(CONNECTIONS_MAX * REPLY_BYTES_BEYOND <= 1_344 * MIB);
/// Bytes of one connection's messages that came in and are not processed; beyond it nothing more is read from it. One
/// upload has its window and a chunk under way, so it never meets this.
pub const INCOMING_BYTES_MAX: usize = 8 * MIB;
const _: () = assert!(STREAM_WINDOW_BYTES + 2 * CHUNK_BYTES_MAX < INCOMING_BYTES_MAX);
/// Bytes of all connections' messages that came in and are not processed; beyond it each connection has
/// [`INCOMING_BYTES_MIN`].
pub const INCOMING_BYTES_TOTAL: usize = 256 * MIB;
/// Bytes that a connection may have unprocessed however much others have: the longest chunk, its call, and small calls
/// beside it. [`CONNECTIONS_MAX`] of these are 384 MiB.
pub const INCOMING_BYTES_MIN: usize = CHUNK_BYTES_MAX + 128 * KIB;
const _: () = assert!(INCOMING_BYTES_MIN < INCOMING_BYTES_MAX);
/// What a message that is not processed costs beside its bytes: the futures and table entries of its call, as measured. A
/// connection's 8 MiB are 2,048 calls of few words.
pub const CALL_COST_BYTES: usize = 4 * KIB;
const _: () = assert!(2 * CALLS_MAX as usize * CALL_COST_BYTES <= INCOMING_BYTES_MAX);
/// What a message that waits for the peer to take it costs beside its bytes.
pub const REPLY_COST_BYTES: usize = KIB;
/// Longest time from a message's first byte to its last, in seconds: the longest chunk at 9 kB a second.
pub const MESSAGE_SECONDS_MAX: u64 = 30;
/// Longest time in which a peer takes none of the bytes that wait for it, in seconds.
pub const WRITE_SECONDS_MAX: u64 = 30;
/// Bytes that a peer takes in that time, while the total is over its bound and it has more than [`REPLY_BYTES_MIN`] to take;
/// else its connection ends. These are 4 KiB a second. A phone takes 16, and its kernel asks for more in lumps. Whoever
/// takes as little as that holds [`REPLY_BYTES_MAX`] for half an hour.
pub const WRITE_BYTES_MIN: usize = 128 * KIB;
const _: () = assert!(3 * WRITE_BYTES_MIN < 16 * KIB * WRITE_SECONDS_MAX as usize);
const _: () = assert!(REPLY_BYTES_MAX / WRITE_BYTES_MIN * WRITE_SECONDS_MAX as usize <= 32 * 60);
/// Longest time that reading pauses while nothing of what came in is done with, in seconds; then calls are refused.
pub const PAUSE_SECONDS_MAX: u64 = 10;
/// Exports and the like that may be pushed over one connection at a time; each holds a thread and five chunks.
pub const PUSHES_MAX: u32 = 16;
/// Questions of one peer that it has not finished. An answer with a capability is kept until then: 3 KiB, and 48 MiB at
/// this limit.
pub const QUESTIONS_MAX: usize = 16_384;
/// Calls that may be made on one answer before it is there; the library forgets none of them until then.
pub const PIPELINED_MAX: u32 = 4_096;
/// Most capabilities in the parameters of one call, or in the results of one of ours.
pub const CAPABILITIES_MAX: u32 = 16;
/// Most steps from an answer to a capability in it.
pub const PIPELINE_STEPS_MAX: u32 = 16;
/// Disembargoes that wait for one peer.
pub const EMBARGOES_MAX: u32 = 1_024;
/// Capabilities that one connection may hold. Each costs the server about 0.35 KiB: 23 MiB at this limit.
pub const OBJECTS_MAX: u32 = 65_536;
/// Calls of one session that may be under way.
pub const CALLS_MAX: u32 = 1_024;
/// Jobs that one connection has among the pool's at a time: enough to keep that many cores busy. What is set aside for
/// their answers is no more than may wait for its peer.
pub const LANE_JOBS_MAX: usize = 8;
const _: () = assert!(LANE_JOBS_MAX * ANSWER_BYTES <= REPLY_BYTES_MAX);
/// Calls of one connection that wait for their turn in the pool; those of one session are fewer.
pub const LANE_CALLS_MAX: u32 = CALLS_MAX;
/// Records a page of a listing holds when the caller names no limit.
pub const LIST_RECORDS_DEFAULT: u32 = 100;
/// Most records in one page of a listing.
pub const LIST_RECORDS_MAX: u32 = 1_000;
/// Bytes, as they are on the wire, after which a page of a listing ends; the record that crosses it is still in.
pub const LIST_BYTES_MAX: usize = 512 * KIB;
/// What a record of a page takes beside its own bytes at the most: its struct and pointers, its CID, its collection.
pub const RECORD_FRAME_BYTES_MAX: usize = crate::names::NSID_BYTES_MAX + 128;
/// Most nodes in one [`Value`](crate::Value) on the wire. A larger record is read as DAG-CBOR.
pub const VALUE_NODES_MAX: usize = 65_536;
// A page's last record may be the largest. A node takes 16 bytes; its text a pointer and padding, 16 more; the texts
// themselves are in the record, and keys are read once more for each node that has one.
const _: () = assert!(
    LIST_BYTES_MAX + VALUE_NODES_MAX * 48 + 2 * CAR_SECTION_BYTES_MAX
        < CLIENT_MESSAGE_WORDS_MAX * 8
);
/// Longest cursor: a seal, a revision and an MST key.
pub const CURSOR_BYTES_MAX: usize = 64 + MST_KEY_BYTES_MAX;
/// Deletions, compactions, checks and backups that run at the same time; each has a thread of its own, but for a backup that
/// is on its way out.
pub const KEEPERS_MAX: usize = 4;
/// Findings of a check that wait for the connection: 8 MB of the longest.
pub const FINDINGS_QUEUED_MAX: usize = 4;
/// Most repos that one finding of a check names; it counts all it touches. Of the longest DIDs they take 2 MB.
pub const FINDING_REPOS_MAX: usize = 1_000;
const _: () = assert!(
    FINDING_REPOS_MAX * (crate::names::DID_BYTES_MAX + 16) < CLIENT_MESSAGE_WORDS_MAX * 8 / 2
);
/// Longest AT-URI of a record: `at://`, the longest DID, NSID and record key, two slashes. What a record names beyond that
/// is cut where it is passed on.
pub const AT_URI_BYTES_MAX: usize = 5
    + crate::names::DID_BYTES_MAX
    + 1
    + crate::names::NSID_BYTES_MAX
    + 1
    + crate::names::RECORD_KEY_BYTES_MAX;
/// Ancestors in one answer when the caller names no number: the service's own thread views stop at 80 parents.
pub const ANCESTORS_DEFAULT: u32 = 80;
/// Most ancestors in one answer. The longest threads of one account answering itself have some hundreds.
pub const ANCESTORS_MAX: u32 = 1_000;
// Each comes with where it is from: a DID, a commit, a key, times.
const _: () = assert!(
    LIST_BYTES_MAX
        + VALUE_NODES_MAX * 48
        + 2 * CAR_SECTION_BYTES_MAX
        + ANCESTORS_MAX as usize * (crate::names::DID_BYTES_MAX + 512)
        < CLIENT_MESSAGE_WORDS_MAX * 8
);
/// Watches that one connection may have.
pub const WATCHES_MAX: u32 = 16;
/// Repos that one watch may name.
pub const WATCH_REPOS_MAX: u32 = 1_000;
/// Changed repos that a watch keeps for a listener that is busy; beyond it the listener is told that it missed some. An
/// entry takes 16 bytes and shares its DID: 256 KiB for all watches of a connection.
pub const WATCH_CHANGES_MAX: usize = 1_024;
const _: () = assert!(
    WATCH_CHANGES_MAX * (crate::names::DID_BYTES_MAX + 128) < CLIENT_MESSAGE_WORDS_MAX * 8 / 2
);
// --- queries

/// Most steps of a plan.
pub const QUERY_STEPS_MAX: usize = 16;
/// Most tests of one filter.
pub const QUERY_TESTS_MAX: usize = 32;
/// Most at-URIs that one step names.
pub const QUERY_URIS_MAX: usize = 1_000;
/// Most repos that one step names.
pub const QUERY_REPOS_NAMED_MAX: usize = 100;
/// Longest path: twice what the keys of a deep record take.
pub const QUERY_PATH_BYTES_MAX: usize = KIB;
/// Rows of an answer when the plan says nothing.
pub const QUERY_ROWS_DEFAULT: u32 = 100;
/// Most rows of an answer.
pub const QUERY_ROWS_MAX: u32 = 10_000;
/// Bytes of an answer when the plan says nothing.
pub const QUERY_BYTES_DEFAULT: u32 = 512 << 10;
/// Most bytes of an answer, as they are on the wire.
pub const QUERY_BYTES_MAX: u32 = 2 << 20;
// A client reads the keys of a value once more for each node that has one, as of a page.
const _: () = assert!(QUERY_BYTES_MAX as usize * 4 < CLIENT_MESSAGE_WORDS_MAX * 8);
/// Work of a plan that says nothing: a repo of a million records is listed and grouped.
pub const QUERY_WORK_DEFAULT: u64 = 2_000_000;
/// Most work of a plan. A unit, a row that one step looks at, takes some ten nanoseconds in a mapped page.
pub const QUERY_WORK_MAX: u64 = 32_000_000;
/// Work that opening a repo counts as: about what reading so many rows takes.
pub const QUERY_REPO_WORK: u64 = 50;
/// Records that a plan which is over may still look up for the rows that it has, so that ten groups it counted can be
/// shown.
pub const QUERY_FINISH_LOOKUPS: u64 = 1_000;
/// Milliseconds of a plan that says nothing.
pub const QUERY_MILLIS_DEFAULT: u32 = 5_000;
/// Most milliseconds of a plan: cold pages take a millisecond for one row.
pub const QUERY_MILLIS_MAX: u32 = 30_000;
/// Bytes of rows and values that a plan may keep apart: 300,000 groups of the length of a DID.
pub const QUERY_MEMORY_BYTES: usize = 32 * MIB;
/// Most repos that a plan reaches: each is open until it ends, at a few KiB.
pub const QUERY_REPOS_MAX: usize = 4_096;
/// Most revisions that an answer names beside those that its rows are of, and most repos that it says are not held.
pub const QUERY_SOURCES_MAX: usize = 100;
/// Queries that run at the same time, each on a thread of its own: 128 MiB of [`QUERY_MEMORY_BYTES`]. Others wait.
pub const QUERIES_MAX: usize = 4;

/// Most bytes of the field paths in one projection, all together: two of the longest map keys.
pub const FIELDS_BYTES_MAX: usize = 2 * CBOR_KEY_BYTES_MAX as usize;
/// Most field paths in one projection.
pub const FIELDS_MAX: usize = 64;

// --- grants

/// Grants that a store holds. The largest scopes of so many take 256 MiB, and most are a hundredth of that.
pub const GRANTS_MAX: usize = 4_096;
/// Grants that may descend from one: whoever hands on a part of what it was given cannot fill the store.
pub const GRANT_DESCENDANTS_MAX: usize = 256;
/// How often a grant can be handed on. A call is charged to each on the way up.
pub const GRANT_DEPTH_MAX: usize = 16;
/// Tokens that open one grant.
pub const GRANT_TOKENS_MAX: usize = 16;
/// Longest label of a grant or a token.
pub const GRANT_LABEL_BYTES_MAX: usize = 128;
/// Most DIDs, and most NSIDs, that one scope names.
pub const SELECTION_ENTRIES_MAX: usize = 1_000;
/// Bytes of all names in one selection: as many `did:plc` as there may be entries.
pub const SELECTION_BYTES_MAX: usize = 32 * KIB;
const _: () = assert!(SELECTION_ENTRIES_MAX * 32 <= SELECTION_BYTES_MAX);
const _: () = assert!(GRANTS_MAX * 2 * SELECTION_BYTES_MAX <= 256 * MIB);
/// Seconds after which what grants used is on the disk: a crash gives back no more than that. The thread that writes it
/// down looks every [`BOOKS_SECONDS`].
pub const GRANT_USE_SECONDS_MAX: u64 = 5;
/// Seconds between two looks at what was used and at what the audit log has to tell.
pub const BOOKS_SECONDS: u64 = 2;
const _: () = assert!(2 * BOOKS_SECONDS < GRANT_USE_SECONDS_MAX);
/// Hours that a grant is listed after it expired; then it is forgotten.
pub const GRANT_EXPIRED_HOURS: i64 = 24 * 7;

// --- the audit log

/// Length at which a file of the audit log is full and the next one begins.
pub const AUDIT_FILE_BYTES_MAX: u64 = 16 << 20;
/// Files of the audit log, the one that is written among them: 128 MiB.
pub const AUDIT_FILES_MAX: usize = 8;
/// Bytes of lines that wait to be written; what comes beyond is counted, and the count is a line. Writing them takes
/// milliseconds, every [`BOOKS_SECONDS`].
pub const AUDIT_QUEUED_BYTES_MAX: usize = 4 * MIB;
/// What reads come to is told of each grant, operation and repo; of more than so many at once the rest is told without
/// naming the repos.
pub const AUDIT_READS_MAX: usize = 4_096;
/// Refusals and failed logins that have a line of their own, each second; the others are counted.
pub const AUDIT_REFUSALS_PER_SECOND: u64 = 20;

// --- MCP

/// Bytes of text an answer holds when the caller names no limit.
pub const ANSWER_BYTES_DEFAULT: usize = 8 * KIB;
/// Most bytes of text in one answer.
pub const ANSWER_BYTES_MAX: usize = 64 * KIB;
/// Most references in one `at_get`.
pub const REFS_MAX: usize = 50;

// --- MCP over HTTP

/// Grants that a gateway serves at once, each over an RPC connection of its own: two gateways fit beside each other into
/// what a store takes from one address.
pub const CONNECTIONS_PER_GATEWAY_MAX: usize = CONNECTIONS_PEER_MAX / 2;
/// Seconds after which a grant's RPC connection that nobody uses is closed. Its next request makes another.
pub const CONNECTION_IDLE_SECONDS_MAX: u64 = 300;
/// Tokens that a gateway has not met before which it shows to the store at the same time. Each takes a connection, beside
/// those of live grants, and a thread; so whoever guesses tokens takes no more than these.
pub const RESTORES_MAX: usize = 8;
/// Requests that wait for one of those to end; further ones are refused as too many. After a restart all whom a gateway
/// serves may come at once, and a restore takes milliseconds.
pub const RESTORES_WAITING_MAX: usize = CONNECTIONS_PER_GATEWAY_MAX - RESTORES_MAX;
/// Seconds in which the store must have said what a token opens, the wait for others included.
pub const RESTORE_SECONDS_MAX: u64 = 10;
/// HTTP connections at once. Each holds a request's head and an answer, below 1 MiB together as a rule.
pub const HTTP_CONNECTIONS_MAX: usize = 1_024;
// Those who wait leave room for those who are served.
const _: () = assert!(CONNECTIONS_PER_GATEWAY_MAX < HTTP_CONNECTIONS_MAX);
/// Seconds in which the head of a request must have come; also the longest that a connection is kept without one.
pub const HTTP_HEAD_SECONDS_MAX: u64 = 60;
/// Longest body of a request: a plan with all the at-URIs that its steps may name.
pub const HTTP_BODY_BYTES_MAX: usize = MIB;
/// Seconds in which the body of a request must have come.
pub const HTTP_BODY_SECONDS_MAX: u64 = 30;
/// Requests of one grant in each second, by all its tokens; as many may come at once after a quiet second. The owner's are not counted. What
/// a grant's scope says is counted by the store, beside this.
pub const HTTP_REQUESTS_PER_SECOND: u32 = 100;
/// Bytes of answers to one grant in each second, over time: an answer that is begun is given whole, and paid for by
/// waiting.
pub const HTTP_BYTES_PER_SECOND: u32 = 4 << 20;
/// Requests of one grant under way at once, answers that are streamed among them.
pub const HTTP_UNDER_WAY_MAX: usize = 64;
/// Seconds in which a client must take something of an answer that waits for it, or lose its connection. Before a write
/// waits, Linux's buffers hold 1.6 MB of what a client does not read (measured over loopback, with the smallest buffer that
/// the client can ask for), so at its rate of bytes a grant holds up fewer than 80 connections.
pub const HTTP_WRITE_SECONDS_MAX: u64 = 30;
const _: () = assert!(
    HTTP_BYTES_PER_SECOND as u64 * HTTP_WRITE_SECONDS_MAX / 1_600_000 < HTTP_CONNECTIONS_MAX as u64
);
/// Requests of a client on stdin, and messages to it, that are under way at once; until one has ended no more is read. So a
/// client that reads nothing holds up as many answers: of tools some 6 MiB, of [`RESOURCE_BYTES_MAX`] each some 350 MiB.
pub const STDIO_UNDER_WAY_MAX: usize = 32;
/// Seconds after which a client is taken to have gone that has closed its end of stdin and takes nothing of what it asked
/// for, while so much is under way that the end itself cannot be read. Those who are told so by the end have as long.
pub const STDIO_LEFT_SECONDS: u64 = 5;
/// Streams of updates that one caller may have at once. Each has one of the connection's watches; of these two are left
/// for the subscriptions of the older era, whose next watch begins before the last one ends.
pub const LISTENS_MAX: usize = WATCHES_MAX as usize - 2;
// Streams never end by themselves: half of what may be under way is left for calls.
const _: () = assert!(2 * LISTENS_MAX <= STDIO_UNDER_WAY_MAX);
/// Seconds that a gateway which is told to end waits for answers under way.
pub const HTTP_GOODBYE_SECONDS_MAX: u64 = 10;
/// Longest token that is shown to the store; its own have 56 characters.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Longest CAR that is handed out as a resource: its base64 and the message around it stay well below the 16 MiB that
/// clients read as one message. A larger one is streamed, by a tool or by `carrack export`.
pub const RESOURCE_BYTES_MAX: usize = 4 * MIB;
const _: () = assert!(RESOURCE_BYTES_MAX / 3 * 4 + 64 * KIB < 16 * MIB);
/// Repos that one completion looks at, for names that begin so: five round trips.
pub const COMPLETION_REPOS_MAX: usize = 4_096;
/// Resources that one stream of updates may name, or one client on standard input may have subscribed to: one watch
/// covers them all.
pub const SUBSCRIPTION_URIS_MAX: usize = 100;
const _: () = assert!(SUBSCRIPTION_URIS_MAX <= WATCH_REPOS_MAX as usize);
