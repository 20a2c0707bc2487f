//! [`Places`]: how many connections there may be, in all and from one peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_schema::limits::{CONNECTIONS_MAX, CONNECTIONS_PEER_MAX, CONNECTIONS_PUBLIC_MAX};

/// Counts connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    public: usize,
    peers: HashMap<IpAddr, usize>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: Option<IpAddr>,
}

/// Which limit a connection is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// That of all connections.
    All,
    /// That of connections at public doors.
    Public,
    /// That of connections of one peer.
    Peer,
}

impl Places {
    /// Takes a place at an owner's door, or at a public one for a peer.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<Place, Full> {
        let peer = peer.map(network);
        let mut taken = self.taken();
        if taken.all >= CONNECTIONS_MAX {
            return Err(Full::All);
        }
        if let Some(peer) = peer {
            if taken.public >= CONNECTIONS_PUBLIC_MAX {
                return Err(Full::Public);
            }
            // Looked at before the entry is made, so that one who is refused leaves none.
            if taken.peers.get(&peer).copied().unwrap_or(0) >= CONNECTIONS_PEER_MAX {
                return Err(Full::Peer);
            }
            taken.public += 1;
            *taken.peers.entry(peer).or_default() += 1;
        }
        taken.all += 1;
        drop(taken);
        let places = self.clone();
        Ok(Place { places, peer })
    }

    /// Says whether no place is taken.
    pub(super) fn are_free(&self) -> bool {
        self.taken().all == 0
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it is held, and the counts are whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(peer) = self.peer else { return };
        taken.public -= 1;
        if let Some(count) = taken.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                taken.peers.remove(&peer);
            }
        }
    }
}

/// Returns what counts as one peer: an address, or the /64 that a single subscriber of IPv6 has all to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !host_bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    /// Takes places for peers of a limit's worth of connections each.
    fn take(places: &Places, count: usize) -> Vec<Place> {
        (0..count)
            .map(|i| {
                places
                    .take(peer((i / CONNECTIONS_PEER_MAX) as u32))
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn a_peer_has_so_many_and_one_that_leaves_makes_room() {
        let places = Places::default();
        let mut held = take(&places, CONNECTIONS_PEER_MAX);
        assert_eq!(places.take(peer(0)).unwrap_err(), Full::Peer);
        let _other = places.take(peer(1)).unwrap();
        held.pop();
        held.push(places.take(peer(0)).unwrap());
        assert_eq!(places.take(peer(0)).unwrap_err(), Full::Peer);
    }

    #[test]
    fn the_public_leaves_room_for_the_owner() {
        let places = Places::default();
        let held = take(&places, CONNECTIONS_PUBLIC_MAX);
        assert_eq!(places.take(peer(999)).unwrap_err(), Full::Public);
        let owners: Vec<_> = (CONNECTIONS_PUBLIC_MAX..CONNECTIONS_MAX)
            .map(|_| places.take(None).unwrap())
            .collect();
        assert_eq!(places.take(None).unwrap_err(), Full::All);
        drop((held, owners));
        assert!(places.are_free() && places.taken().peers.is_empty());
    }

    #[test]
    fn the_owner_may_have_all() {
        let places = Places::default();
        let _held: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|_| places.take(None).unwrap())
            .collect();
        assert_eq!(places.take(None).unwrap_err(), Full::All);
        assert_eq!(places.take(peer(0)).unwrap_err(), Full::All);
    }

    #[test]
    fn addresses_of_one_subscriber_are_one_peer() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            let of = |text: &str| network(text.parse().unwrap());
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
    }
}
