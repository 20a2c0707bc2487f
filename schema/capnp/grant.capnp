@0xf25ad71d0a4bb4be;
# Grants: authority that is narrowed, handed on, watched and taken back.
#
# A grant is made from a session and never allows more than that session does. Its holder has a session; its issuer
# keeps the Grant, which controls it. What a holder uses counts against its grant and against all above it.

using Store = import "store.capnp";

interface Grants {
  # The grants that descend from this session's. It must be allowed to `grant`, for this and for every method here.
  issue @0 (scope :Scope, label :Text) -> (session :Store.Session, grant :Grant);
  # Makes a grant: a session to give away on this connection, and the handle that controls it. `denied` if the scope is
  # wider than this session's. When this answers, the grant survives a crash. It lives until it expires or is revoked.
  list @1 (after :Text, limit :UInt32) -> (grants :List(GrantInfo), more :Bool);
  # All descendants in order of id, those above `after`; at most `limit` (0: the server's default).
  grant @2 (id :Text) -> (grant :Grant);
  # One of the descendants by its id. Its leaves fail with `notFound` for any other.
}

interface Grant {
  # The issuer's end of a grant.
  info @0 () -> (info :GrantInfo);
  # What it allows and what was used of it, as of now.
  revoke @1 () -> (revoked :UInt32);
  # Ends the grant and all that descend from it: their sessions, whatever was reached through them, calls under way, and
  # their tokens. Answers how many grants that were. When this answers, it survives a crash.
  save @2 (label :Text) -> (token :Text, id :UInt64);
  # A token for `Gate.restore` and `Gate.login`: the way to give the grant's authority to someone on another connection. It
  # is shown this once; the store keeps a hash. The id is for `forget`.
  tokens @3 () -> (tokens :List(TokenInfo));
  # Those that open it, without their text, which nobody has but who was given it.
  forget @4 (id :UInt64) -> (known :Bool);
  # Ends one token. Sessions that were opened with it go on; `revoke` ends those.
}

struct Scope {
  # What a grant allows. Unset means no: an empty Scope allows nothing, and what is added here later is "no" in every
  # older grant.
  repos @0 :Selection;        # DIDs
  collections @1 :Selection;  # NSIDs; `app.bsky.feed.*` is all below `app.bsky.feed`
  may @2 :Operations;
  calls @3 :Budget;           # methods called, hops among them
  bytes @4 :Budget;           # of records, proofs and CARs, in and out
  expires @5 :Int64;          # 0 is refused; later than the issuer's own is cut to that; the largest Int64: never

  struct Operations {
    # What may be done. A method that needs one that is not set fails with `denied`.
    read @0 :Bool;      # records by name, and what is known of a repository
    list @1 :Bool;      # which repositories, collections and records there are; queries
    search @2 :Bool;    # full text: for methods to come; none needs it yet, so it allows nothing
    blobs @3 :Bool;     # blobs: the same
    prove @4 :Bool;     # proofs; they show the keys and CIDs beside a record, so all collections must be allowed too
    export @5 :Bool;    # whole repositories, so all collections must be allowed too
    import @6 :Bool;    # new revisions of the repositories; they are of all collections, so all must be allowed too
    delete @7 :Bool;
    grant @8 :Bool;     # hand on a part of this
    maintain @9 :Bool;  # compact and check the store, which is of all repositories
  }

  struct Budget {
    # Both count. A spent `total` fails with `budgetSpent`, a spent second with `overloaded`.
    total @0 :Limit;      # over the grant's life
    perSecond @1 :Limit;
  }

  struct Limit {
    # How much of something.
    union {
      none @0 :Void;        # nothing at all
      atMost @1 :UInt64;
      unlimited @2 :Void;   # as much as the issuer may
    }
  }
}

struct Selection {
  # Which of many, by name. What has a name need not be there yet.
  union {
    none @0 :Void;
    only @1 :List(Text);
    all @2 :Void;       # all that the issuer may
  }
}

struct GrantInfo {
  # One grant, for who issued it or stands above it.
  id @0 :Text;
  parent @1 :Text;      # id of the grant it was made from; empty for the owner
  label @2 :Text;
  scope @3 :Scope;      # as it was cut to its issuer's
  created @4 :Int64;
  usage @5 :Usage;
  tokens @6 :UInt32;    # that open it
  sessions @7 :UInt32;  # open now
}

struct Usage {
  # What a grant has used, with its descendants. It is written down every few seconds: a crash loses the last of them.
  # The owner's is not counted.
  calls @0 :UInt64;
  bytes @1 :UInt64;
  lastUsed @2 :Int64;   # 0: never
  refused @3 :UInt64;   # calls that its scope or its budget did not allow, since the server started
}

struct TokenInfo {
  # One token, without its text.
  id @0 :UInt64;
  label @1 :Text;
  created @2 :Int64;
  lastUsed @3 :Int64;   # 0: never
}
