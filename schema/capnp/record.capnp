@0x9a03f7df79cfc367;
# Records and their values as they go over the wire.

struct Value {
  # One value of the AT Protocol data model, flat: a tree of structs would pass Cap'n Proto's default nesting
  # limit of 64 for a legal record, a list of nodes never does.
  nodes @0 :List(Node);   # in pre-order; the first is the root
  texts @1 :List(Text);   # map keys and text values, each distinct key once
  blobs @2 :List(Data);   # bytes values and links
}

struct Node {
  # One value without its children, or the head of a list or a map; 16 bytes.
  kind @0 :Kind;
  key @1 :UInt32;     # within a map: index into `texts`; elsewhere 0
  scalar @2 :Int64;   # what it says depends on the kind

  enum Kind {
    # What a node is. A reader that meets another number must give the value up: it cannot know how many nodes belong
    # to it.
    null @0;
    bool @1;    # scalar: 0 or 1
    int @2;     # scalar: the integer
    text @3;    # scalar: index into `texts`
    bytes @4;   # scalar: index into `blobs`
    link @5;    # scalar: index into `blobs`; the binary CID, without the 0x00 prefix it has in CBOR
    list @6;    # scalar: number of children, which follow
    map @7;     # scalar: number of children, which follow, in DAG-CBOR key order
  }
}

struct Want {
  # What to read of a record. Nothing is computed that is not asked for.
  form @0 :Form;
  cid @1 :Bool;             # also the CID; the server hashes the record's bytes for it
  fields @2 :List(Text);    # form = value: keep these paths only ("text", "subject.uri"); empty keeps all

  enum Form {
    # How a record travels.
    none @0;
    value @1;
    dagCbor @2;   # the record's exact bytes
  }
}

struct RecordData {
  # One record of a listing or a read.
  collection @0 :Text;  # unset where the whole answer is of one collection
  rkey @1 :Text;
  cid @2 :Data;         # 36 bytes; empty unless asked for
  union {
    none @3 :Void;
    value @4 :Value;
    dagCbor @5 :Data;
    undecodable @6 :Text;
    # A value was asked for, but the record breaks the data model's rules (the text says which) or is larger
    # than a value may be. Its dagCbor can still be read.
    missing @7 :Void;
    # The repository was imported as partial, without this record's block; its CID is known.
  }
}
