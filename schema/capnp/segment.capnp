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
  # Some rows of an extent. Columns will stand beside `verbatim` in a union.
  verbatim @0 :Verbatim;

  struct Verbatim {
    # Each row is its record's DAG-CBOR.
    ends @0 :List(UInt32);     # row i is heap[ends[i-1] .. ends[i]]; row 0 starts at 0
    heap @1 :Data;
    missing @2 :List(UInt16);  # ascending ordinals of rows whose block was not in the CAR: the heap has their CID
  }
}

struct NodePage {
  # Digests of the repository's MST nodes, 32 bytes each, in pre-order. The nodes themselves are rebuilt from the rows;
  # with their digests a proof rebuilds only those on its path.
  digests @0 :Data;
}
