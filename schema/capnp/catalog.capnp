@0xe8d1750c9b3f2a64;
# Values of the catalog's tables (DATA/catalog.redb).

struct RepoEntry {
  # Table `repos`, keyed by DID: the repository's current revision and where it lies.
  rev @0 :Text;
  commitCid @1 :Data;     # 36 bytes
  segment @2 :Data;       # 16 bytes: the ULID that names the segment file
  records @3 :UInt64;
  blocks @4 :UInt64;      # of the CAR it came from
  bytesIn @5 :UInt64;     # length of the CAR
  bytesStored @6 :UInt64; # length of the segment
  imported @7 :Int64;     # microseconds since the Unix epoch
}

struct SegmentEntry {
  # Table `segments`, keyed by the ULID's 16 bytes: a file that must be there.
  bytes @0 :UInt64;
}
