//! [`Door`]: what a connection came in by; [`Entrance`]: what its objects are told of that, and lent by the server.

use std::cell::Cell;
use std::rc::Rc;

use carrack_schema::limits::LOGINS_FAILED_MAX;
use tokio::sync::Notify;

use crate::pool::Lane;

/// What a connection came in by, which decides what the empty credential means on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Only the store's owner comes in here: by a unix socket of theirs, or from within this process.
    Owner,
    /// Whoever reaches the port may knock, so a token is demanded. Loopback is such a door too: every user of the
    /// machine reaches it, and every page in a browser can try.
    Public,
}

impl Door {
    /// Returns the door that a peer of a unix socket came in by. Others than the socket's owner cannot open it unless
    /// somebody has changed its mode, or that of its folder, meanwhile.
    pub(super) fn of_unix_peer(peer: u32, ours: u32) -> Self {
        const ROOT: u32 = 0;
        if peer == ours || peer == ROOT {
            Self::Owner
        } else {
            Self::Public
        }
    }
}

/// How a connection came in. Its clones are one: they count failed logins together.
#[derive(Clone, Debug)]
pub struct Entrance {
    door: Door,
    lane: Lane,
    knocks: Rc<Knocks>,
}

#[derive(Debug, Default)]
struct Knocks {
    failed: Cell<u32>,
    too_many: Notify,
}

impl Entrance {
    /// Begins a connection that has a lane in the pool.
    pub(super) fn with_lane(door: Door, lane: Lane) -> Self {
        Self {
            door,
            lane,
            knocks: Rc::default(),
        }
    }

    /// Begins a connection whose work is done where it is asked for: one that shares its thread, and its thread's clock,
    /// with its peer.
    pub fn new(door: Door) -> Self {
        Self::with_lane(door, Lane::inline())
    }

    /// Returns the connection's place in the pool.
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Says whether a credential is that of the store's owner: the empty one, where only the owner comes in.
    pub(crate) fn is_owners(&self, credential: &str) -> bool {
        credential.is_empty() && self.door == Door::Owner
    }

    /// Counts a login that failed; the last one that a connection has ends it, once its answer is out.
    pub(crate) fn login_failed(&self) {
        let failed = self.knocks.failed.get().saturating_add(1);
        self.knocks.failed.set(failed);
        if failed >= LOGINS_FAILED_MAX {
            self.knocks.too_many.notify_one();
        }
    }

    /// Waits until too many logins have failed.
    pub(super) async fn turned_away(&self) {
        self.knocks.too_many.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_empty_credential_is_the_owners_where_only_the_owner_comes_in() {
        assert!(Entrance::new(Door::Owner).is_owners(""));
        assert!(!Entrance::new(Door::Owner).is_owners(" "));
        assert!(!Entrance::new(Door::Public).is_owners(""));
        for (peer, door) in [
            (1_000, Door::Owner),
            (0, Door::Owner),
            (1_001, Door::Public),
        ] {
            assert_eq!(Door::of_unix_peer(peer, 1_000), door, "{peer}");
        }
    }

    #[test]
    fn the_last_login_that_may_fail_ends_the_connection() {
        let entrance = Entrance::new(Door::Public);
        let gate = entrance.clone();
        for _ in 1..LOGINS_FAILED_MAX {
            gate.login_failed();
        }
        assert!(entrance.turned_away().now_or_never().is_none());
        gate.login_failed();
        assert!(entrance.turned_away().now_or_never().is_some());
    }
}
