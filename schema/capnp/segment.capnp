@0xb1c5a3de0f6e4721;
# What lies in a segment file. The file's own frame (header, alignment, trailer) is in
# store-server/segment/FORMAT.md; everything between is messages of these types.
#
# Every message is one Cap'n Proto segment without a stream header, read in place from the map.

struct Footer {
  # The table of contents, the last message of the file.
  pages @0 :List(Section);    # by page number
  groups @1 :List(Data);      # names of groups by number, strictly ascending as if a slash followed each
  extents @2 :List(Extent);   # strictly ascending by key
  dictionary @3 :Section;     # what the pages share, opaque to the segment layer; absent if there is none
}

struct Section {
  # Where a message is in the file, how it is stored, and how it is checked.
  offset @0 :UInt64;      # bytes from the start of the file, a multiple of 8
  bytes @1 :UInt32;       # stored length; zeros follow up to a multiple of 8
  plainBytes @2 :UInt32;  # length of the message, a multiple of 8
  checksum @3 :UInt32;    # CRC-32C of the stored bytes and the zeros
  rows @4 :UInt16;        # rows the message holds; 0 where it holds none
  codec @5 :Codec;
}

enum Codec {
  # How a message is stored.
  none @0;  # the message as it is
  zstd @1;  # one or more Zstandard frames
}

struct Extent {
  # Rows that belong together, in key order: one repository at one revision.
  key @0 :Data;             # opaque to the segment layer
  head @1 :Data;            # opaque to the segment layer
  indexOffset @2 :UInt64;   # an Index message, as in Section; always stored as it is
  indexBytes @3 :UInt32;
  indexChecksum @4 :UInt32;
  rows @5 :UInt32;
}

struct Index {
  # Where each row of an extent is. Rows are numbered from 0 in the order of the bytes of `group + '/' + name`,
  # which is the order of the MST.
  packed @0 :Data;        # groups, blocks, names and places, bit by bit, then text: see FORMAT.md
  pageBase @1 :UInt32;    # least page of a row
  pageBits @2 :UInt8;     # bits of a row's page above pageBase
  ordinalBits @3 :UInt8;  # bits of a row's ordinal in its page
  groupBits @4 :UInt8;    # bits of a group's number
  offsetBits @5 :UInt8;   # bits of a block's offset
}

struct RepoHead {
  # What an extent says of its repository, beside the rows. DID and revision are the extent's key.
  commit @0 :Data;           # the commit block, as it was signed
  records @1 :UInt64;        # of the repository at this revision; a diff's own rows are fewer
  isDiff @2 :Bool;           # the rows are what changed since the revision before, those gone among them
  firstNodePage @3 :UInt32;  # number of the first page of the file that goes on where `nodes` ends, a NodePage
  nodePages @5 :UInt32;      # how many such pages there are, one after the other
  nodes @4 :NodePage;        # all of the digests where they are few
}

struct Page {
  # Rows of one shape stand together in a group; ordinals count through the groups.
  groups @0 :List(Group);
  heap @1 :Data;               # texts, byte strings and digests, column by column
  entryStarts @2 :List(UInt32); # texts that repeat: entry i is entries[entryStarts[i] .. entryStarts[i + 1]]
  entries @3 :Data;

  struct Group {
    # Columns one after the other. What a column holds follows from the shape's leaf; how it is packed is said here.
    shape @0 :UInt32;     # 0: each row is its record's DAG-CBOR, one text column; 1: each row is the CID of a record
                          # whose block is not held, one text column; 2: each row says that its record is gone, no
                          # column; n + 3: shape n of the dictionary
    firstRow @1 :UInt16;  # ordinal of the first row
    rows @2 :UInt16;
    bases @3 :List(UInt64);  # by column
    codes @4 :Data;       # by column: 0 to 64: each value is base + a number of so many bits;
                          # 65: row i is the digest at heap[base + i * its length];
                          # 128 + w: row i is entry base + a number of w bits;
                          # 192 + w: row i ends at heap[base + a number of w bits], and begins where the row before
                          # ends, the first one at base
    packed @5 :Data;      # the columns' numbers: of each column that has a width, all rows, without a gap
  }
}

struct Dictionary {
  # What the pages of a segment name by number.
  plcs @0 :Data;          # accounts of method plc, 15 bytes each
  names @1 :List(Data);   # collections of AT-URIs
  shapes @2 :List(Data);  # templates: a byte from 0x80 on is a leaf and its kind (`repack/src/leaf.rs`), one below it a
                          # run of the record's own bytes: of length n + 1, or for 0x7f of the length in the next two
}

struct NodePage {
  # Digests of the repository's MST nodes in pre-order, as an edit script over those of the revision before; a full
  # extent has no such revision and copies none. The nodes themselves are rebuilt from the rows; with their digests a
  # proof rebuilds only those on its path.
  digests @0 :Data;        # 32 bytes each: the new ones, in order
  runs @1 :List(Run);

  struct Run {
    # Nodes that stay, then nodes that are new.
    start @0 :UInt32;      # first, `count` digests of the revision before from this number on …
    count @1 :UInt32;
    fresh @2 :UInt32;      # … then so many of `digests`, going on where the run before ended
  }
}
