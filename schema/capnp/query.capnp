@0xbb8a5b5a3be6e7c6;
# Queries: a small plan of steps that the store runs next to the data, in one round trip.
#
# A step takes the rows of an earlier step, or makes rows of its own, and gives rows. Promise pipelining follows
# capabilities; it cannot filter, count or group, and a plan can. Every plan ends: steps only look back, and rows, bytes,
# memory, work and time are bounded. Whose posts one likes most, with JSON in place of the message:
#
#   [ {list: {repos: {named: ["did:plc:…"]}, collection: "app.bsky.feed.like"}},
#     {group: "subject.uri#did"},
#     {top: {count: 10}} ]
#
# A *row* is a record; or an at-URI whose record is not held; or a value, of a group; or a mere count.
#
# A *path* is the keys of maps joined by dots (`text`, `subject.uri`). It goes through lists to what is in them
# (`facets.features.tag`), so a row may have many values at a path, or none. Lists and maps themselves are no values. What
# begins with `@` is of the row itself:
#   @uri @did @collection @rkey   of a record, held or not
#   @time    of a record whose key is a TID: its time, an integer of microseconds since 1970
#   @held    of a record: whether it is
#   @value   of a group
#   @count   of a group, of a count, and of a record that was mapped from one
# What follows a `#` at the end is made of each value; one that it cannot be made of is left out:
#   #did #collection #rkey   of a text that is an at-URI (`subject.uri#did`)
#   #time                    of a text that is a time of RFC 3339 or a TID: microseconds since 1970, rounded down
#   #year #month #day        of the same: `2026`, `2026-10`, `2026-10-31`, in UTC
#   #host                    of a text that is an absolute URL with a host: that, in lower case
#   #length                  of a text: its characters; of bytes: how many
#
# Values compare within a kind only: texts, bytes and links by their bytes, integers by size, false before true. Where
# values of several kinds are ordered, kinds are in the order of Node.Kind.

using Record = import "record.capnp";
using Store = import "store.capnp";

struct Plan {
  # What to do, in order, and whose rows to send.
  steps @0 :List(Step);   # at most About.queryStepsMax
  answer @1 :UInt16;      # number of the step whose rows are wanted, from 1; 0: the last
  budget @2 :Budget;

  struct Budget {
    # 0: the server's default; more than the server's most is cut to that, as About says it.
    rows @0 :UInt32;      # in the answer
    bytes @1 :UInt32;     # of the answer, as it is on the wire
    work @2 :UInt64;      # see Cost.work
    millis @3 :UInt32;    # on the server, from when it begins
  }
}

struct Step {
  # One step: where its rows come from and what it does to them.
  from @0 :UInt16;
  # Number of the step whose rows it takes, from 1, smaller than its own; 0: the one before it. A step that takes no rows
  # leaves it 0.

  union {
    none @1 :Void;        # refused: a step of a newer schema
    get @2 :List(Text);
    # The records that these at-URIs name, in this order. Takes no rows. `get: ["at://did:plc:…/app.bsky.feed.post/3k…"]`
    list @3 :Range;
    # The records of one collection, in key order. `list: {repos: {named: ["did:plc:…"]}, collection: "app.bsky.feed.post"}`
    filter @4 :List(Test);
    # The rows that pass every test. Posts that mention capnp and answer nothing:
    # `filter: [{path: "text", contains: "capnp"}, {path: "reply", negate: true, exists}]`
    among @5 :Among;
    # The rows that have a value which a row of another step has too, or those that have none: to intersect and to subtract.
    map @6 :Text;
    # The records that the at-URIs at this path of each row name, each once, in this order, with that row's count. Other
    # values are passed over. Posts that were liked: `map: "subject.uri"`; of groups: `map: "@value"`
    project @7 :Record.Want;
    # The same rows; says in which form records are answered. Steps behind it still see all of them. Without it: as whole
    # values; a Want that is unset: their names only. `project: {form: value, fields: ["text", "createdAt"]}`
    count @8 :Void;
    # One row: how many there are.
    group @9 :Text;
    # A row for each value at this path, with how many rows have it: the most frequent first, then by value. Rows without a
    # value are in no group. `group: "subject.uri#did"`, `group: "createdAt#month"`
    top @10 :Top;
    # The first rows in an order. The ten latest: `top: {count: 10, by: "createdAt#time"}`; largest groups: `top: {count: 10}`
    distinct @11 :Text;
    # The rows that have a value at this path which no row before them had.
    first @12 :UInt32;
    # So many of the rows, as they come. What is before it does no more work than that takes.
  }

  struct Range {
    # Records of one collection, of some repositories.
    repos :union {
      none @0 :Void;          # refused
      named @1 :List(Text);   # these, in this order, by DID or handle; takes no rows
      at @2 :Text;
      # Those whose DIDs are at this path of each row, each once; other values are passed over. What those whom one follows
      # have liked: `list: {repos: {at: "subject"}, collection: "app.bsky.feed.like"}`
      all @3 :Void;           # all of the store, in order of DID; takes no rows
    }
    collection @4 :Text;  # NSID
    keys @5 :Store.Range; # of record keys, of each repository
    since @6 :Int64;      # 0, or: only records whose key is a TID of this time or later, in microseconds since 1970
    until @7 :Int64;      # 0, or: only records whose key is a TID of an earlier time
  }

  struct Test {
    # One condition on a row.
    path @0 :Text;
    negate @1 :Bool;      # the row passes if no value passes

    union {
      none @2 :Void;      # refused: a test of a newer schema
      exists @3 :Void;    # there is a value, here or deeper: an empty list or map has none
      equals @4 :Record.Value;
      prefix @5 :Text;
      contains @6 :Text;  # text within the text, without regard to case
      atLeast @7 :Record.Value;
      below @8 :Record.Value;
      # Of `#time` and `@time` also a text: a time of RFC 3339 or a day, such as `2026-10-01`.
    }
  }

  struct Among {
    # Which rows share a value with those of another step. Whom A follows and B too, of steps 1 and 2, the lists of their follows: `{from: 1, among: {path: "subject", step: 2, of:
    # "subject"}}`
    path @0 :Text;
    step @1 :UInt16;      # number of an earlier step, from 1
    of @2 :Text;          # path of its rows
    negate @3 :Bool;      # the rows that have no such value; none if a budget ends before all values of that step are known
  }

  struct Top {
    # Which rows come first, and how many of them.
    count @0 :UInt32;     # at most About.queryRowsMax
    by @1 :Text;          # path; empty: `@count`. Rows without a value are left out. Equals stay in the order they came in.
    ascending @2 :Bool;   # the smallest first, by their smallest value; else the largest first, by their largest value
  }
}

struct Answer {
  # The rows of one step, why they end, what they are of, and what all steps cost.
  rows @0 :List(Row);
  ended @1 :Ended;        # why there are not more rows
  sources @2 :List(Store.Source);
  # The repositories that were read: those that rows name by number, and as many of the others as there is room for.
  repos @3 :UInt32;       # how many were read
  absent @4 :List(Missing); # what `list` steps name and the store does not hold, the first of them
  steps @5 :List(Cost);   # one a step
  bytes @6 :UInt32;       # of this answer, as the budget counts them

  enum Ended {
    # Why the rows end.
    unknown @0;
    complete @1;
    rows @2;              # a budget was reached: these are the first rows
    bytes @3;
    work @4;              # these, and what they count, are what was found until then
    time @5;
    memory @6;            # as `work`: the plan had to keep more values or rows apart than the server allows
    repos @7;             # as `work`: it reached more repositories than one plan may
  }
}

struct Row {
  # A record, a group, a count, or a name that leads nowhere.
  count @0 :UInt64;       # as `@count`; else 0

  union {
    none @1 :Void;        # a count, no more
    record :group {
      source @2 :UInt32;  # index into Answer.sources
      record @3 :Record.RecordData;
    }
    absent :group {
      # A record that the store does not hold, or that is not this session's to read: the two look alike.
      uri @4 :Text;
      hop @5 :Store.Absent;
    }
    value @6 :Record.Value; # of a group
  }
}

struct Missing {
  # What a `list` step names and the store does not hold.
  step @0 :UInt16;        # from 1
  repo @1 :Text;          # its DID
  hop @2 :Store.Absent;
}

struct Cost {
  # What one step took.
  rowsIn @0 :UInt64;
  rowsOut @1 :UInt64;
  work @2 :UInt64;        # rows that it looked at or up, fifty for each repository that it opened
  micros @3 :UInt64;      # on the server, without the steps it takes rows from
}
