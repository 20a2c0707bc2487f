@0xe8d1750c9b3f2a64;
# Values of the catalog's tables (DATA/catalog.redb).

struct RepoEntry {
  # Table `repos`, keyed by DID: the repository's current revision, where it lies, and what is known of it.
  rev @0 :Text;           # empty for a commit of version 2, which has none
  commitCid @1 :Data;     # 36 bytes
  segment @2 :Data;       # 16 bytes: the ULID that names the segment file
  records @3 :UInt64;
  missing @8 :UInt64;     # records whose block is not held
  blocks @4 :UInt64;      # of the CAR it came from
  bytesIn @5 :UInt64;     # length of the CAR
  bytesStored @6 :UInt64; # length of the segment
  imported @7 :Int64;     # microseconds since the Unix epoch
  verdict @9 :Verdict;
  key @10 :Text;          # verdict = valid: the did:key the signature was checked with
  document @11 :Data;     # verdict = valid: SHA-256 of the DID document the key came from
  checked @12 :Int64;     # verdict = valid: when, in microseconds since the Unix epoch
  handle @13 :Text;       # the first that a DID document claimed, unverified; may be empty
  invalid @15 :UInt64;    # records that break the data model; their bytes are kept
  status @14 :Text;       # empty while the account is active; else its status, and the repository is hidden
}

enum Verdict {
  unchecked @0;
  valid @1;
  legacyCommit @2;
}

struct SegmentEntry {
  # Table `segments`, keyed by the ULID's 16 bytes: a file that must be there.
  bytes @0 :UInt64;
}
