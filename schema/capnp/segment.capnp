@0xb1c5a3de0f6e4721;
# What lies in a segment file. The file's own frame (header, alignment, trailer) is in
# store-server/segment/FORMAT.md; everything between is messages of these types.
#
# Every message is one Cap'n Proto segment without a stream header, read in place from the map.

struct Footer {
  # The table of contents, the last message of the file.
  pages @0 :List(Section);    # by page number
  extents @1 :List(Extent);   # ascending by key
}

struct Section {
  # Where a message is in the file, and how it is checked.
  offset @0 :UInt64;    # bytes from the start of the file, a multiple of 8
  bytes @1 :UInt64;     # length, a multiple of 8
  checksum @2 :UInt32;  # CRC-32C of those bytes
  rows @3 :UInt32;      # rows the message holds; 0 where it holds none
}

struct Extent {
  # Rows that belong together, in key order: one repository at one revision.
  key @0 :Data;         # the repository's DID
  head @1 :Data;        # a RepoHead message; opaque to the segment layer
  index @2 :Section;    # an Index message
  firstPage @3 :UInt32;
  pageCount @4 :UInt32;
}

struct Index {
  # Where each row of an extent is. Rows are numbered from 0 in the order of the bytes of `group + '/' + name`,
  # which is the order of the MST.
  groups @0 :List(Group);
  names @1 :List(UInt64);   # by row: what it means depends on the group's form
  places @2 :List(UInt32);  # by row: page number within the extent << 12 | ordinal within the page
  heap @3 :Data;            # bytes of names that are text

  struct Group {
    # A collection.
    name @0 :Data;
    firstRow @1 :UInt32;
    rowCount @2 :UInt32;
    form @3 :Form;
  }
  enum Form {
    text @0;   # a name is heap[v >> 16 ..][.. v & 0xffff]
    tid @1;    # a name is the 13 characters of sortable base32 that say v
  }
}

struct RepoHead {
  # What an extent says of its repository.
  did @0 :Text;
  rev @1 :Text;
  commitCid @2 :Data;   # 36 bytes
  commit @3 :Data;      # the commit block, as it was signed
  records @4 :UInt64;
  firstNodePage @5 :UInt32;  # pages from here to the extent's last are NodePages
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
  # Digests of the repository's MST nodes, 32 bytes each, in pre-order. The nodes themselves are rebuilt from the rows;
  # with their digests a proof rebuilds only those on its path.
  digests @0 :Data;
}
