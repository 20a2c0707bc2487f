@0x97dbe20ccd621a0f;
# The store's RPC interfaces. Authority is what you hold: an object names what it may touch, and no method takes
# a "user".
#
# Hops (methods that return a capability) answer at once and never touch the disk, so a chain of them is one
# round trip. Leaves answer with a union whose first arm is the expected miss. Faults are exceptions with the
# text `code: words`; codes are listed in schema/src/codes.rs, and the exception's kind says how to react:
# failed (do not repeat), overloaded (back off, repeat), disconnected (reconnect), unimplemented (older server).
# Times are microseconds since the Unix epoch. Streams push; dropping means cancelling.

using Record = import "record.capnp";
using Grant = import "grant.capnp";
using Query = import "query.capnp";

interface Gate {
  # The bootstrap; it carries no authority of its own.
  login @0 (credential :Text) -> (session :Session);
  # With a token; or, on the store's own unix socket, with the empty text: whoever can open that socket owns the store.
  # Fails with `badCredential` for any other.
  restore @1 (token :Text) -> (session :Session);
  # As `login`, for whoever passes on a token that it was given: the empty text is no token here and never the owner's
  # authority.
}

interface Session {
  # All that one holder may do, in facets, so that a reader can be passed on without the rest.
  about @0 () -> (about :About);
  # The server's version and limits, and what this session may do. Limits of 0 are of an older server, which does not
  # say.
  store @1 () -> (store :Store);
  # To read.
  importer @2 () -> (importer :Importer);
  # To bring repositories in.
  keeper @3 () -> (keeper :Keeper);
  # To delete, compact and check.
  grants @4 () -> (grants :Grant.Grants);
  # To hand on a part of this session.
  usage @5 () -> (usage :Grant.Usage);
  # What this session's grant has used so far.
}

struct About {
  # What one should know before the first call. Each limit is tested at its value and one beyond.
  version @0 :Text;           # of the server, as in its changelog
  messageBytesMax @1 :UInt32; # a longer message ends the connection
  chunkBytesMax @2 :UInt32;   # longest `CarSink.write`
  listRecordsMax @3 :UInt32;  # most records in one page
  listBytesMax @4 :UInt32;    # bytes of values after which a page ends
  callsMax @5 :UInt32;        # calls of one session under way; one more fails with `overloaded`
  objectsMax @6 :UInt32;      # capabilities of one connection; one more fails with `overloaded`
  queryStepsMax @7 :UInt32;   # steps of a plan
  queryRowsMax @8 :UInt32;    # rows of a query's answer
  queryBytesMax @9 :UInt32;   # bytes of a query's answer
  queryWorkMax @10 :UInt64;   # rows that a query may look at
  scope @11 :Grant.Scope;     # what this session may do; `search` and `blobs` in it are of methods to come
  label @12 :Text;            # of its grant; empty for the owner
  grant @13 :Text;            # id of its grant; empty for the owner
}

interface Store {
  # Read-only: all repositories.
  repo @0 (did :Text) -> (repo :Repo);
  # By DID, or by a handle that a DID document given with an import claims; leaves fail with `unknownHandle` for another.
  repos @1 (after :Text, limit :UInt32) -> (repos :List(RepoInfo), more :Bool);
  # In order of DID, those above `after`; at most `limit` (0: the server's default).
  stats @2 () -> (stats :StoreStats);
  # Totals of all that is held.
  query @3 (plan :Query.Plan) -> (answer :Query.Answer);
  # Runs a plan, on one revision of each repository: the current one when the plan first reaches it.
  ancestors @4 (uri :Text, max :UInt32, want :Record.Want) -> (ancestors :Ancestors);
  # The posts that a post answers, from its parent up, as far as the store holds them; at most `max` (0: the server's
  # default, 80) of at most 1,000, and a page of bytes; the URI may name a handle. What a record says that it answers is
  # somebody's claim and may be anything.
  watch @5 (repos :Grant.Selection, listener :Listener) -> (watch :Watch);
  # Tells `listener` of each change of these repositories (DIDs, 1,000 at most) from when this has answered, until the watch
  # is dropped, the listener fails, or the authority ends; then the listener is let go. A DID outside the scope is
  # `denied`; of `all` those in the scope are told. 16 watches a connection; one more is `overloaded`.
}

struct Ancestors {
  # A chain of replies, read from below.
  nodes @0 :List(Node);   # the parent first
  end @1 :End;
  missing @2 :Text;       # the at-URI at which the chain left the store; empty unless that is its end

  struct Node {
    # One post of the chain.
    source @0 :Source;
    record @1 :Record.RecordData;
  }

  enum End {
    # Why there are not more nodes.
    unknown @0;
    root @1;      # the last node answers nothing
    missing @2;   # the store does not hold the next one, or it is not this session's to read
    max @3;       # there is at least one more
    loop @4;      # the next one is a node already
    absent @5;    # the record asked for is not held: there are no nodes
  }
}

interface Listener {
  # Implemented by the watching client.
  changed @0 (changes :List(Change), missed :Bool);
  # At most one call is outstanding; of a repository that changes again meanwhile the newest change is told. `missed`: there
  # were too many to keep, so anything may have changed.
}

interface Watch {
  # Dropping it ends the telling.
}

struct Change {
  # What became of one repository. It tells that there is something to read, not what.
  did @0 :Text;
  rev @1 :Text;           # the current one; empty if there is none
  commit @2 :Data;
  kind @3 :Kind;
  records @4 :UInt64;     # of the repository, now; 0 for a session that may not read all collections

  enum Kind {
    # What changed last.
    unknown @0;
    imported @1;
    recordDeleted @2;
    repoDeleted @3;
    status @4;            # the account's status, handle or verdict
  }
}

struct StoreStats {
  # Totals of the store. Sizes are in bytes.
  repos @0 :UInt64;
  records @1 :UInt64;
  bytesIn @2 :UInt64;     # of the CARs the current revisions came from
  bytesStored @3 :UInt64; # that all their revisions take in segment files
  revisions @4 :UInt64;   # held of all repositories; 0 from a server that does not say, and so are all below
  segments @5 :UInt64;    # segment files
  segmentsCold @6 :UInt64; # of them, those with compressed pages
  bytesSegments @7 :UInt64; # length of the segment files, with what no repository needs any more
  bytesCatalog @8 :UInt64; # length of the catalog's file
  purges @9 :UInt64;      # segment files that hold something deleted and will be rewritten
  purgeBy @10 :Int64;     # when the first of them will be at the latest; 0 if there are none
}

interface Repo {
  # One repository at its current revision.
  info @0 () -> InfoResult;
  # What is known of the repository as a whole.
  collections @1 () -> CollectionsResult;
  # Its collections in the order of their names, with their sizes.
  collection @2 (nsid :Text) -> (collection :Collection);
  # One collection, by its NSID. That it is empty is said by its leaves.
  record @3 (path :Text) -> (record :RecordCap);  # path: collection/rkey
  list @4 (range :Range, want :Record.Want, page :PageRequest) -> ListResult;
  # All records, ordered by path; the range is of paths.
  export @5 (sink :ByteSink) -> ExportResult;
  # Pushes the repository's CAR into `sink`, calls its `done`, then returns. The CAR holds exactly the blocks that the
  # commit reaches: commit first, then the tree in pre-order with the records between. Dropping the call stops it.
  # Fails with `incomplete`, before the first byte, for a repository that was imported as partial.
  at @6 (rev :Text) -> (repo :Repo);
  # The repository pinned to a revision, as a `Source` names it; the empty text is a commit of version 2. Its leaves
  # fail with `revNotRetained`, naming the oldest revision that is there, when the store no longer holds it. What was
  # deleted is hidden at every revision, and its listings never move to another.
  scan @7 (range :Range, want :Record.Want, sink :RecordSink) -> ScanResult;
  # Pushes all records that `list` would page through, from one snapshot, a page a write, with flow control; then calls
  # the sink's `done` and answers. Dropping the call stops it. A sink that acknowledges nothing for 60 seconds ends it
  # with `unavailable`; so it does an export.
}

interface Collection {
  # The records of one collection.
  record @0 (rkey :Text) -> (record :RecordCap);
  # One record, by its key. Whether there is one is said by its leaves.
  list @1 (range :Range, want :Record.Want, page :PageRequest) -> ListResult;
  # Ordered by record key; the range is of record keys.
  scan @2 (range :Range, want :Record.Want, sink :RecordSink) -> ScanResult;
  # As `Repo.scan`.
  get @3 (rkey :Text, want :Record.Want) -> ReadResult;
  # What `record(rkey).read(want)` answers, in one call and without an object for the record: half the server's work.
}

interface RecordCap {
  # Names one record; handing it on hands on exactly this record.
  read @0 (want :Record.Want) -> ReadResult;
  # The record, in the form that is wanted.
  prove @1 () -> ProofResult;
  # The small CAR that shows from the signed commit that the record is in the repository, or that there is none.
  verify @2 () -> VerifyResult;
  # Does itself what a proof lets others do: hashes the record, rebuilds the tree's nodes on its path up to the root that the
  # commit names, hashes the commit, and checks the signature with the key that the verdict names. Says nothing of other
  # records. Fails with `incomplete` for a record that was deleted from the store or whose block is not held.
}

interface RecordSink {
  # Implemented by the receiving client.
  write @0 (records :List(Record.RecordData)) -> stream;
  # The next records, in order. An answer that waits holds the scan back.
  done @1 ();
  # All records have been written. Without it the scan was cut short.
}

struct ScanResult {
  # How a scan went.
  union {
    absent @0 :Absent;
    scanned :group {
      source @1 :Source;
      records @2 :UInt64;
      bytes @3 :UInt64;     # as they went over the wire, beside a fixed part for each record
    }
  }
}

struct VerifyResult {
  # What came out.
  union {
    absent @0 :Absent;      # of the repository: that a record is absent is verified too
    verified :group {
      source @1 :Source;
      present @2 :Bool;     # whether the record is in the tree, or shown not to be
      cid @3 :Data;         # of the record, from its bytes as they are stored now; empty if there is none
      nodes @4 :UInt32;     # of the tree, from the root to where the record is or would be
      signature @5 :Verdict.Outcome; # of the commit, checked now
    }
    broken @6 :Text;        # what does not fit together; the store's files are damaged
  }
}

interface ByteSink {
  # Implemented by the receiving client.
  write @0 (bytes :Data) -> stream;
  # The next bytes, in order. An answer that waits holds the sender back.
  done @1 ();
  # All bytes have been written. Without it what was written is a part.
}

struct ExportResult {
  # How an export went.
  union {
    absent @0 :Absent;
    exported :group {
      source @1 :Source;
      bytes @2 :UInt64;
      blocks @3 :UInt64;
      records @4 :UInt64;
    }
  }
}

struct ProofResult {
  # A proof, or why there is none.
  union {
    absent @0 :Absent;    # of the repository: an absent record is what a proof may show
    proof :group {
      source @1 :Source;
      present @2 :Bool;   # whether it shows the record or that there is none
      car @3 :Data;
    }
  }
}

struct Range {
  # Keys in the order of their bytes. Empty means open.
  from @0 :Text;        # inclusive
  before @1 :Text;      # exclusive
  reverse @2 :Bool;     # from the last to the first
}

struct PageRequest {
  # Which page, and how long. A page also ends after About.listBytesMax bytes.
  cursor @0 :Data;      # `next` of the page before; empty starts
  limit @1 :UInt32;     # most records; 0 means the server's default
}

struct ListResult {
  # One page.
  union {
    absent @0 :Absent;
    page :group {
      source @1 :Source;
      records @2 :List(Record.RecordData);
      next @3 :Data;
      # Cursor of the next page, empty at the end. It works for this listing only, and is refused if altered.
      movedFrom @4 :Text;
      # Set when the cursor was made at this other revision, and that is not retained any more: the listing goes on after
      # the same key in today's. Else every page is of the revision of the first, less what was deleted since.
    }
  }
}

struct ReadResult {
  # One record, or which hop was missing.
  union {
    absent @0 :Absent;
    found :group {
      source @1 :Source;
      record @2 :Record.RecordData;
    }
  }
}

struct InfoResult {
  # A repository, or why there is none.
  union {
    absent @0 :Absent;
    info @1 :RepoInfo;
  }
}

struct CollectionsResult {
  # All collections of a repository, or why there are none.
  union {
    absent @0 :Absent;
    found :group {
      source @1 :Source;
      collections @2 :List(CollectionInfo);
    }
  }
}

struct CollectionInfo {
  # A collection and its size.
  nsid @0 :Text;
  records @1 :UInt64;
}

enum Absent {
  # The first hop that was missing.
  unknown @0;
  repo @1;
  collection @2;
  record @3;
  inactive @4;    # held, and hidden: the account is not active
}

struct Source {
  # Where an answer comes from, once an answer.
  did @0 :Text;
  rev @1 :Text;         # empty for a commit of version 2, which has none
  commit @2 :Data;      # CID of the signed commit, 36 bytes
  verdict @3 :Verdict;
}

struct Verdict {
  # What is known of the signature over the commit. A bad one is never stored.
  outcome @0 :Outcome;
  key @1 :Text;         # valid: the did:key it was checked with
  document @2 :Data;    # valid: SHA-256 of the DID document that names the key
  checked @3 :Int64;    # valid: when

  enum Outcome {
    # What a check of the signature came to.
    unchecked @0;       # no key was given: hashes and structure are proven, the signature is not
    valid @1;
    legacyCommit @2;    # a commit of version 2, from an old export
  }
}

struct RepoInfo {
  # A repository at one revision.
  source @0 :Source;
  records @1 :UInt64;
  bytesIn @2 :UInt64;
  bytesStored @3 :UInt64;
  imported @4 :Int64;
  missing @5 :UInt64;   # records whose block is not held; 0 unless it was imported as partial
  invalid @8 :UInt64;   # records that break the data model: their bytes are kept, a value of them is `undecodable`
  handle @6 :Text;      # that a DID document claims, unverified; may be empty
  status @7 :Text;      # empty while the account is active; else the repository is hidden
}

interface Importer {
  # Brings repositories in. What is imported is verified first: hashes, tree, commit.
  importCar @0 (options :ImportOptions, progress :Progress) -> (sink :CarSink);
  # One import a sink. `progress` may be null.
}

struct ImportOptions {
  # What to take and what to refuse. Unset asks for the hashes, the tree and the commit's form to be right, no more.
  did @0 :Text;               # refuse another repository with `wrongDid`; empty takes any
  didDocument @1 :Data;       # the account's, JSON: the commit's signature is checked with its key; empty leaves it unchecked
  requireSignature @2 :Bool;  # refuse a commit that no key was given for
  allowPartial @3 :Bool;      # take a CAR that lacks record blocks; their CIDs are kept
  status @4 :Text;            # of the account, such as `active` or `takendown`; empty keeps what is known
}

interface CarSink {
  # Takes one CAR. It is this client's place among the imports that run at once, from the first write until `done` or
  # until it is dropped.
  write @0 (bytes :Data) -> stream;
  # The CAR's bytes in order, at most About.chunkBytesMax a call; borders mean nothing. An error would break the
  # stream and `done` with it, so what is wrong with the bytes is said by `done` alone: once the import has ended,
  # further bytes are dropped.
  done @1 () -> (result :ImportResult, repo :Repo);
  # Verifies, then commits atomically: when this answers, the repository survives a crash. A sink that is
  # dropped without it leaves nothing behind. `repo` is the imported one, so that what comes next can be called on its
  # promise; calls on it fail if the input was refused.
  expectSize @2 (bytes :UInt64);
  # Optional, before the first write: progress then has a total, and a CAR that is too long is refused early.
}

struct ImportResult {
  # How an import ended. Each arm is a full answer; an exception says that it could not be carried out.
  union {
    rejected @0 :Rejection;
    imported @1 :ImportReport;
    unchanged @2 :ImportReport;   # the store held this very commit; its verdict, handle and status may be new
  }
}

struct Rejection {
  # The input was refused; the store is as it was.
  code @0 :Text;
  words @1 :Text;
}

struct ImportReport {
  # What was taken in.
  info @0 :RepoInfo;
  blocks @1 :UInt64;        # of the CAR
  collections @2 :List(CollectionInfo);
}

interface Progress {
  # Implemented by the importing client.
  report @0 (phase :Phase, done :UInt64, total :UInt64);
  # At most one call is outstanding; newer figures replace unsent ones. `total` is 0 while it is not known.

  enum Phase {
    # Where an import is. They come in this order.
    receiving @0;   # bytes of the CAR
    packing @1;     # records verified along the MST and written
    committing @2;
  }
}

interface Keeper {
  # Looking after the store: what neither a reader nor an importer may do.
  delete @0 (repo :Text, path :Text, purge :Bool) -> DeleteResult;
  # Hides a record (path: collection/rkey), or the whole repository (an empty path), at every revision at once; when this
  # answers, it stays hidden through a crash. The repository is named by DID or handle. With `purge` the bytes are off
  # the disk as well, before this answers. What has begun goes on though the caller leaves.
  compact @1 (repo :Text, cold :Bool) -> CompactResult;
  # Waits for the merge that runs, then merges all of the store, or of one repository, into as few segments and revisions
  # as retention allows; `repo` may be empty. `cold` asks for pages that are smaller and slower to read. What has begun
  # goes on though the caller leaves.
  check @2 (quick :Bool, watcher :CheckWatcher) -> (report :CheckReport);
  # Reads everything and pushes what is damaged into `watcher`, then returns. `quick` compares checksums and leaves out
  # rows, trees and commits. Damage is no error; an error is that the store could not be checked. Dropping the call stops it.
  backup @3 (sink :BackupSink) -> (report :BackupReport);
  # Pushes the files of a copy of the store as of one moment into `sink`, the catalog last, calls its `done`, then returns.
  # Under their names in an empty folder they are a data folder. For the owner alone, whatever a grant allows: a copy holds
  # every record, grant and key. Dropping the call stops it, and so does a sink that acknowledges nothing for 60 seconds.
}

struct DeleteResult {
  # What was deleted.
  union {
    absent @0 :Absent;
    deleted :group {
      did @1 :Text;
      records @2 :UInt64;   # that could be seen and cannot any more
      purgeBy @3 :Int64;    # when the bytes will be off the disk at the latest; 0 if they are
    }
  }
}

struct CompactResult {
  # What compacting came to.
  union {
    absent @0 :Absent;
    compacted :group {
      before @1 :StoreStats;
      after @2 :StoreStats;
      damaged @3 :UInt64;   # segment files that stay as they are, because something in them is damaged
    }
  }
}

interface CheckWatcher {
  # Implemented by the client that checks.
  found @0 (finding :CheckFinding);
  # One call at a time: the check waits until the client has taken it.
  progress @1 (phase :Phase, done :UInt64, total :UInt64, records :UInt64);
  # At most one call is outstanding; newer figures replace unsent ones. `records` counts records that were decoded.

  enum Phase {
    # Where a check is.
    segments @0;    # whole files
    repos @1;       # their rows and trees
  }
}

interface BackupSink {
  # Implemented by the client that keeps the copy.
  file @0 (name :Text, bytes :UInt64, left :UInt64) -> (skip :Bool);
  # The next file: its name in the data folder, its length, and the bytes of all files after it. The name of a segment file
  # never stands for other bytes, so a client that has it need not be sent them.
  write @1 (bytes :Data) -> stream;
  # The next bytes of the file that was named last. An answer that waits holds the sender back.
  done @2 ();
  # All files have been written. Without it what was written is no copy.
}

struct BackupReport {
  # What a copy is of.
  taken @0 :Int64;          # the moment, in microseconds since the Unix epoch
  segments @1 :UInt64;      # segment files
  bytes @2 :UInt64;         # of all files
  bytesSkipped @3 :UInt64;  # of those that the client had
}

struct CheckFinding {
  # One damaged part.
  file @0 :Text;            # in the data folder, such as segments/….cseg
  section @1 :Text;         # of the file: `file`, `dictionary`, `page N`, `index`; or of a revision in it: `extent`, `rows`, `tree`, `commit`, `nodes`
  words @2 :Text;           # what is wrong
  repos @3 :List(Text);     # DIDs of those it touches, ascending, the first thousand
  reposCount @4 :UInt64;    # how many it touches
  readable @5 :Text;        # what can still be read
}

struct CheckReport {
  # What was gone through. All is well if there are no findings.
  segments @0 :UInt64;
  repos @1 :UInt64;
  revisions @2 :UInt64;     # whose trees were rebuilt; 0 if the check was quick
  records @3 :UInt64;       # that were decoded; 0 if the check was quick
  bytes @4 :UInt64;         # of segment files
  findings @5 :UInt64;
  reposDamaged @6 :UInt64;  # that findings touch
}
