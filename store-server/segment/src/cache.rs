//! Pages in memory: what a page's reader holds, and the bounded cache of decompressed ones.
//!
//! The cache must never hold more than its bound, nor know what a page means.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capnp::Word;

/// A page's message: whole words at a multiple of 8 in memory. Cheap to clone.
#[derive(Clone)]
pub struct Page<'a>(Form<'a>);

#[derive(Clone)]
enum Form<'a> {
    Mapped(&'a [u8]),
    Decompressed(Arc<Vec<Word>>),
}

impl<'a> Page<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(Form::Mapped(bytes))
    }

    pub(crate) fn decompressed(words: Arc<Vec<Word>>) -> Self {
        Self(Form::Decompressed(words))
    }

    /// Returns the page's bytes in the map, for as long as the segment lives; nothing if the page was decompressed.
    pub fn mapped(&self) -> Option<&'a [u8]> {
        match self.0 {
            Form::Mapped(bytes) => Some(bytes),
            Form::Decompressed(_) => None,
        }
    }
}

impl Deref for Page<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Mapped(bytes) => bytes,
            Form::Decompressed(words) => Word::words_to_bytes(words),
        }
    }
}

impl PartialEq for Page<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Page<'_> {}

impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.0 {
            Form::Mapped(_) => "mapped",
            Form::Decompressed(_) => "decompressed",
        };
        write!(f, "Page({form}, {} bytes)", self.len())
    }
}

/// The decompressed pages of any number of segments, up to a number of bytes. Pages that are read in place from a map
/// never come here.
///
/// The pages that were not asked for since the hand last passed make room (the clock algorithm). A page in use stays in
/// memory until its last [`Page`] is gone, though it may have left the cache.
#[derive(Debug)]
pub struct PageCache {
    bytes_max: usize,
    segments: AtomicU64,
    clock: Mutex<Clock>,
}

/// An open segment's number, and a page's.
type Key = (u64, u32);

#[derive(Debug, Default)]
struct Clock {
    places: HashMap<Key, usize>,
    ring: Vec<Entry>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    words: Arc<Vec<Word>>,
    used: bool,
}

impl PageCache {
    /// Makes a cache that holds at most `bytes_max` bytes of pages; with 0 it holds none, and each read decompresses.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            segments: AtomicU64::new(0),
            clock: Mutex::default(),
        })
    }

    /// Returns the bytes of the pages held now.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Returns a number that no other segment in this cache has.
    pub(crate) fn segment(&self) -> u64 {
        self.segments.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Vec<Word>>> {
        let mut clock = self.lock();
        let at = *clock.places.get(&key)?;
        let entry = clock.ring.get_mut(at)?;
        entry.used = true;
        Some(Arc::clone(&entry.words))
    }

    /// Keeps a page, unless it is larger than the whole cache.
    pub(crate) fn put(&self, key: Key, words: &Arc<Vec<Word>>) {
        let bytes = bytes_of(words);
        let Some(room) = self.bytes_max.checked_sub(bytes) else {
            return;
        };
        let mut clock = self.lock();
        if clock.places.contains_key(&key) {
            // Another thread decompressed it meanwhile.
            return;
        }
        while clock.bytes > room {
            clock.evict();
        }
        let at = clock.ring.len();
        clock.places.insert(key, at);
        clock.ring.push(Entry {
            key,
            words: Arc::clone(words),
            used: false,
        });
        clock.bytes = clock.bytes.saturating_add(bytes);
    }

    /// Lets go of all pages of a segment.
    pub(crate) fn forget(&self, segment: u64) {
        let mut clock = self.lock();
        let mut at = 0;
        while let Some(entry) = clock.ring.get(at) {
            if entry.key.0 == segment {
                clock.remove(at);
            } else {
                at = at.saturating_add(1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Clock> {
        // Nothing in here panics between two changes that belong together.
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// Removes one page. The ring must not be empty.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            match self.ring.get_mut(self.hand) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.hand = self.hand.saturating_add(1);
                }
                _ => return self.remove(self.hand),
            }
        }
    }

    /// Removes the page at `at`; the last one takes its place.
    fn remove(&mut self, at: usize) {
        if at >= self.ring.len() {
            return;
        }
        let entry = self.ring.swap_remove(at);
        self.places.remove(&entry.key);
        self.bytes = self.bytes.saturating_sub(bytes_of(&entry.words));
        if let Some(moved) = self.ring.get(at) {
            self.places.insert(moved.key, at);
        }
    }
}

fn bytes_of(words: &[Word]) -> usize {
    Word::words_to_bytes(words).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(words: usize) -> Arc<Vec<Word>> {
        Arc::new(Word::allocate_zeroed_vec(words))
    }

    fn held(cache: &PageCache, pages: u32) -> Vec<u32> {
        let clock = cache.lock();
        (0..pages)
            .filter(|&page| clock.places.contains_key(&(0, page)))
            .collect()
    }

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let cache = PageCache::new(80);
        for number in 0..5 {
            cache.put((0, number), &page(2));
        }
        assert_eq!((cache.bytes(), held(&cache, 9)), (80, vec![0, 1, 2, 3, 4]));
        for number in [0, 1, 3, 4] {
            assert!(cache.get((0, number)).is_some());
        }
        cache.put((0, 5), &page(2));
        assert_eq!(held(&cache, 9), [0, 1, 3, 4, 5]);
        cache.put((0, 6), &page(10));
        assert_eq!((cache.bytes(), held(&cache, 9)), (80, vec![6]));
        cache.put((0, 7), &page(11));
        assert_eq!(held(&cache, 9), [6], "larger than the cache");
        cache.put((0, 6), &page(10));
        assert_eq!(cache.bytes(), 80, "the same page twice");
    }

    #[test]
    fn a_segment_takes_its_pages_with_it() {
        let cache = PageCache::new(1_000);
        let (one, two) = (cache.segment(), cache.segment());
        for number in 0..5 {
            cache.put((one, number), &page(1));
            cache.put((two, number), &page(1));
        }
        cache.forget(one);
        assert_eq!(cache.bytes(), 40);
        for number in 0..5 {
            assert!(cache.get((one, number)).is_none());
            assert!(cache.get((two, number)).is_some());
        }
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let cache = PageCache::new(0);
        cache.put((0, 0), &page(1));
        assert_eq!((cache.bytes(), cache.get((0, 0))), (0, None));
    }
}
