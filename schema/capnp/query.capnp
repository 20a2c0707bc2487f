@0xbb8a5b5a3be6e7c6;
# Queries: a small plan of steps that the store runs next to the data, in one round trip.
#
# A step takes the rows of an earlier step, or rows of its own, and gives rows. Promise pipelining follows capabilities; it
# cannot filter, count or group, and a plan can. Every plan ends: steps only look back, and rows, bytes and work are bounded.

using Record = import "record.capnp";
using Store = import "store.capnp";

struct Plan {
  # What to do, in order, and whose rows to send.
  steps @0 :List(Step);   # at most About.queryStepsMax
  answer @1 :UInt16;      # number of the step whose rows are wanted, from 1; 0: the last
  budget @2 :Budget;

  struct Budget {
    # 0: the server's default; more than the server's most is cut to that (About says both).
    rows @0 :UInt32;      # in the answer
    bytes @1 :UInt32;     # of the answer
    work @2 :UInt64;      # rows that all steps may look at together
  }
}

struct Step {
  # One step: where its rows come from and what it does to them. `none` was not filled in, or is one that this server does
  # not know.
  from @0 :UInt16;        # number of the step whose rows it takes, from 1, smaller than its own; 0: none

  union {
    none @1 :Void;
    get @2 :List(Text);   # records by at-URI; needs no `from`
    list @3 :Range;       # records of one collection; needs no `from`
    filter @4 :List(Test);  # rows that pass every test
    map @5 :Text;         # the records that an at-URI at this path of each row names, each once
    project @6 :List(Text); # rows with these fields only
    count @7 :Void;       # one row: how many
    group @8 :Text;       # a row for each value at this path: the value, how many rows have it
    top @9 :Top;          # the first rows by a field or a count
    distinct @10 :Text;   # rows whose value at this path was not met before
  }

  struct Range {
    # A collection's records, or some of them.
    repo @0 :Text;        # DID or handle
    collection @1 :Text;  # NSID
    keys @2 :Store.Range;
  }

  struct Test {
    # One condition on a row. `none` was not filled in, or is one that this server does not know.
    path @0 :Text;        # of the record, such as `subject.uri`; `rkey`, `did`, `collection` with a leading `@`
    negate @1 :Bool;

    union {
      none @2 :Void;
      exists @3 :Void;
      equals @4 :Record.Value;
      prefix @5 :Text;
      contains @6 :Text;  # text within the text, without regard to case
      atLeast @7 :Record.Value; # texts by bytes, integers by size
      below @8 :Record.Value;
    }
  }

  struct Top {
    # Which rows come first, and how many of them.
    count @0 :UInt32;
    by @1 :Text;          # path; empty: a group's count
    ascending @2 :Bool;
  }
}

struct Answer {
  # The rows of one step, and what all of them cost.
  rows @0 :List(Row);
  steps @1 :List(Cost);   # one a step
  ended @2 :Ended;        # why there are not more rows
  sources @3 :List(Store.Source); # revisions that were read; rows name them by number

  enum Ended {
    # Why the rows end.
    unknown @0;
    complete @1;
    rows @2;              # a budget was reached; the rows are the first ones
    bytes @3;
    work @4;
  }
}

struct Row {
  # A record, a group, a count, or a name that leads nowhere.
  source @0 :UInt32;      # index into Answer.sources; of a record
  record @1 :Record.RecordData; # of a record; unset for a count or a group
  value @2 :Record.Value; # of a group
  count @3 :UInt64;       # of a group or a count
  uri @4 :Text;           # of a row that names a record the store does not hold
  absent @5 :Store.Absent;
}

struct Cost {
  # What one step took.
  rowsIn @0 :UInt64;
  rowsOut @1 :UInt64;
  work @2 :UInt64;        # rows looked at
  bytes @3 :UInt64;       # of records that were made to answer
  micros @4 :UInt64;      # on the server
}
