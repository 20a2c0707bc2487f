//! [`Table`]: what is kept of live grants, so many and no more; the least recently used makes room.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// SHA-256 of a token: what is kept opens nothing, and how long a look-up takes tells nothing of it.
pub(super) type Key = [u8; 32];

/// Values by the tokens that open them. One that is in use outside is never let go.
pub(super) struct Table<T> {
    entries: HashMap<Key, Entry<T>>,
    most: usize,
}

struct Entry<T> {
    value: Arc<T>,
    used: Instant,
}

impl<T> Entry<T> {
    /// The table is behind a lock, so nobody takes out another meanwhile.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.value) == 1
    }
}

impl<T> Table<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Arc<T>> {
        let entry = self.entries.get_mut(key)?;
        entry.used = now;
        Some(entry.value.clone())
    }

    /// Returns what is kept, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| entry.value.as_ref())
    }

    /// Keeps a value and returns it, or the one that is there already; none if all places are in use.
    pub(super) fn insert(&mut self, key: Key, value: T, now: Instant) -> Option<Arc<T>> {
        if let Some(there) = self.get(&key, now) {
            return Some(there);
        }
        if self.entries.len() >= self.most {
            let idle = self.entries.iter().filter(|(_, entry)| entry.is_idle());
            let oldest = *idle.min_by_key(|(_, entry)| entry.used)?.0;
            self.entries.remove(&oldest);
        }
        let value = Arc::new(value);
        let entry = Entry {
            value: value.clone(),
            used: now,
        };
        self.entries.insert(key, entry);
        Some(value)
    }

    /// Lets go of this value, if it is what the key opens.
    pub(super) fn remove(&mut self, key: &Key, value: &Arc<T>) {
        if let Some(entry) = self.entries.get(key)
            && Arc::ptr_eq(&entry.value, value)
        {
            self.entries.remove(key);
        }
    }

    /// Lets go of what nobody has used for so long.
    pub(super) fn sweep(&mut self, idle: Duration, now: Instant) {
        self.entries
            .retain(|_, entry| !entry.is_idle() || now.duration_since(entry.used) < idle);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        [number; 32]
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut table = Table::new(2);
        table.insert(key(1), 1, start).unwrap();
        table.insert(key(2), 2, start + second).unwrap();
        table.get(&key(1), start + 2 * second).unwrap();
        table.insert(key(3), 3, start + 3 * second).unwrap();
        assert_eq!(table.len(), 2);
        assert!(table.get(&key(2), start).is_none());
        assert!(table.get(&key(1), start).is_some() && table.get(&key(3), start).is_some());
    }

    #[test]
    fn what_is_in_use_stays() {
        let now = Instant::now();
        let mut table = Table::new(1);
        let used = table.insert(key(1), 1, now).unwrap();
        assert!(table.insert(key(2), 2, now).is_none());
        table.sweep(Duration::ZERO, now);
        assert_eq!(table.len(), 1);
        drop(used);
        assert!(table.insert(key(2), 2, now).is_some());
    }

    #[test]
    fn the_first_of_two_for_one_key_is_kept_and_only_it_is_removed_by_name() {
        let now = Instant::now();
        let mut table = Table::new(2);
        let first = table.insert(key(1), 1, now).unwrap();
        assert_eq!(*table.insert(key(1), 2, now).unwrap(), 1);
        table.remove(&key(1), &Arc::new(1));
        assert_eq!(table.len(), 1);
        table.remove(&key(1), &first);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn what_is_idle_for_long_is_let_go() {
        let (now, idle) = (Instant::now(), Duration::from_secs(300));
        let mut table = Table::new(2);
        table.insert(key(1), 1, now).unwrap();
        table.sweep(idle, now + idle - Duration::from_nanos(1));
        assert_eq!(table.len(), 1);
        table.sweep(idle, now + idle);
        assert_eq!(table.len(), 0);
    }
}
