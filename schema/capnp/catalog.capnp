@0xe8d1750c9b3f2a64;
# Values of the catalog's tables (DATA/catalog.redb), in Cap'n Proto's packed form: most numbers are small.

using Grant = import "grant.capnp";

struct RepoEntry {
  # Table `repos`, keyed by DID: the revisions that are held, where they lie, and what is known of the account.
  extents @0 :List(RepoExtent);   # newest first; the last one is no diff
  signatures @1 :List(Signature); # that extents name
  handle @2 :Text;          # the first that a DID document claimed, unverified; may be empty
  status @3 :Text;          # empty while the account is active; else its status, and the repository is hidden
  deletions @4 :UInt32;     # rows that table `deletions` has for this repository
}

struct RepoExtent {
  # One revision: in which segment its rows are, and what it came to.
  segmentHigh @0 :UInt64;   # the ULID that names the segment file
  segmentLow @1 :UInt64;
  rev @2 :UInt64;           # a TID
  commitA @3 :UInt64;       # the SHA-256 of the commit block, in four words
  commitB @4 :UInt64;
  commitC @5 :UInt64;
  commitD @6 :UInt64;
  hasRev @7 :Bool;          # false for a commit of version 2, which has no revision
  isDiff @8 :Bool;          # the rows are what changed since the next extent of the list
  verdict @9 :Verdict;
  signature @10 :UInt16;    # verdict = valid: which of the row's signatures
  rows @11 :UInt32;         # of the extent, without those that say that a record went
  tombstones @12 :UInt32;   # rows that say so
  records @13 :UInt32;      # of the repository at this revision
  missing @14 :UInt32;      # of them, those whose block is not held; deleted ones are not counted
  invalid @15 :UInt32;      # of them, those that break the data model; deleted ones are not counted
  deleted @16 :UInt32;      # of them, those that somebody deleted from the store
  blocks @17 :UInt32;       # of the CAR it came from
  bytesIn @18 :UInt64;      # length of the CAR
  bytesStored @19 :UInt64;  # the extent's share of its segment file
  imported @20 :Int64;      # microseconds since the Unix epoch
  checked @21 :Int64;       # verdict = valid: when, in microseconds since the Unix epoch
}

struct Signature {
  # What a commit's signature was checked with.
  key @0 :Text;             # the did:key that commits were checked with
  document @1 :Data;        # SHA-256 of the DID document the key came from
}

enum Verdict {
  # As store.capnp's Verdict.Outcome.
  unchecked @0;
  valid @1;
  legacyCommit @2;
}

struct SegmentEntry {
  # Table `segments`, keyed by the ULID's 16 bytes: a file that must be there.
  bytes @0 :UInt64;
  liveBytes @1 :UInt64;     # the shares of the extents that repos still name
  extents @2 :UInt32;       # how many those are; at none the file goes
  purgeBy @3 :Int64;        # it holds something deleted and must be rewritten before; microseconds, 0 if not
  cold @4 :Bool;            # its pages are compressed
}

struct GrantEntry {
  # Table `grants`, keyed by the ULID's 16 bytes: authority that was handed on and not taken back.
  parentHigh @0 :UInt64;    # the ULID of the grant it was made from; 0 for the owner's
  parentLow @1 :UInt64;
  label @2 :Text;
  scope @3 :Grant.Scope;    # as it was cut to its issuer's
  created @4 :Int64;        # microseconds since the Unix epoch
  tokensMade @5 :UInt64;    # ids of tokens are counted up and not given twice
}

struct GrantUse {
  # Table `grantUse`, keyed as `grants`: what was used, a few seconds old at the most.
  calls @0 :UInt64;
  bytes @1 :UInt64;
  lastUsed @2 :Int64;       # microseconds since the Unix epoch; 0: never
}

struct TokenEntry {
  # Table `tokens`, keyed by the SHA-256 of its secret bytes.
  grantHigh @0 :UInt64;     # the ULID of the grant it opens
  grantLow @1 :UInt64;
  id @2 :UInt64;
  label @3 :Text;
  created @4 :Int64;        # microseconds since the Unix epoch
  lastUsed @5 :Int64;       # as above; 0: never
}
