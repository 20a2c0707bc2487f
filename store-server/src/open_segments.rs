//! [`OpenSegments`]: segment files that are open, opened when first asked for and at most so many at a time.
//!
//! Whoever reads holds an `Arc`: a segment that is put aside here, or whose file is gone, stays readable to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carrack_schema::Code;
use carrack_schema::limits::PAGE_CACHE_BYTES;
use carrack_segment::{Directory, PageCache, Segment};

use crate::catalog::SegmentId;
use crate::error::{Error, Result};
use crate::row::RecordSegment;

/// Segments by id, and when each was asked for last.
pub(crate) struct OpenSegments {
    directory: Arc<dyn Directory>,
    max: usize,
    /// Decompressed pages of all of them.
    pages: Arc<PageCache>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    segments: HashMap<SegmentId, (Arc<RecordSegment>, u64)>,
    /// Counts what was asked for.
    time: u64,
}

impl OpenSegments {
    pub(crate) fn new(directory: Arc<dyn Directory>, max: usize) -> Self {
        Self {
            directory,
            max: max.max(1),
            pages: PageCache::new(PAGE_CACHE_BYTES),
            state: Mutex::default(),
        }
    }

    /// Returns a segment.
    ///
    /// # Errors
    /// `damaged` if its file is missing, broken, or another's.
    pub(crate) fn get(&self, id: SegmentId) -> Result<Arc<RecordSegment>> {
        if let Some(segment) = self.lock().touch(id) {
            return Ok(segment);
        }
        // Opened outside the lock: a slow disk holds up only who needs this file.
        let segment = Segment::open(&*self.directory, &id.file(), &self.pages)?;
        if segment.id() != id.0.to_bytes() {
            let words = format!("{} is another segment than its name says", id.file());
            return Err(Error::new(Code::Damaged, words));
        }
        let segment = Arc::new(RecordSegment::new(segment));
        let mut state = self.lock();
        if let Some(segment) = state.touch(id) {
            return Ok(segment);
        }
        state.make_room(self.max);
        let time = state.time;
        state.segments.insert(id, (segment.clone(), time));
        Ok(segment)
    }

    /// Lets go of a segment in which something could not be read, so that whoever asks next opens it anew: a disk that
    /// misread once may read well.
    pub(crate) fn forget(&self, id: SegmentId) {
        self.lock().segments.remove(&id);
    }

    /// Lets go of a segment that the catalog no longer names and removes its file. Its bytes are free when the last
    /// reader has let go of it too.
    pub(crate) fn retire(&self, id: SegmentId) {
        self.lock().segments.remove(&id);
        match self.directory.unlink(&id.file()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // Harmless: the next opening removes files that the catalog does not name.
                tracing::warn!(%error, file = id.file(), "cannot remove a replaced segment");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The map is whole whatever its last holder did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn touch(&mut self, id: SegmentId) -> Option<Arc<RecordSegment>> {
        self.time += 1;
        let (segment, time) = self.segments.get_mut(&id)?;
        *time = self.time;
        Some(segment.clone())
    }

    /// Puts aside the eighth that nobody asked for longest, so that the search for it is rare.
    fn make_room(&mut self, max: usize) {
        if self.segments.len() < max {
            return;
        }
        let mut times: Vec<u64> = self.segments.values().map(|(_, time)| *time).collect();
        times.sort_unstable();
        let last = times.get(max / 8).copied().unwrap_or(u64::MAX);
        self.segments.retain(|_, (_, time)| *time > last);
    }
}

#[cfg(test)]
mod tests {
    use carrack_repack::NodeScript;
    use carrack_segment::Fs;

    use super::*;
    use crate::packer::{ExtentHead, Packer};
    use crate::store::TMP;

    fn seal(directory: &Arc<dyn Directory>, number: u128) -> SegmentId {
        let id = SegmentId(ulid::Ulid(number));
        let mut packer = Packer::create(directory, id, false).unwrap();
        packer.begin(&"did:plc:a".parse().unwrap(), None).unwrap();
        let head = ExtentHead {
            commit: b"",
            records: 0,
            is_diff: false,
            nodes: &NodeScript::full(Vec::new()),
        };
        packer.end(&head).unwrap();
        packer.finish().unwrap();
        id
    }

    #[test]
    fn no_more_stay_open_than_allowed_and_those_asked_for_last_do() {
        let folder = tempfile::tempdir().unwrap();
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        for folder in [TMP, "segments"] {
            directory.create_dir(folder).unwrap();
        }
        let ids: Vec<SegmentId> = (1..=20).map(|number| seal(&directory, number)).collect();
        let open = OpenSegments::new(directory, 8);
        for &id in &ids {
            open.get(ids[0]).unwrap();
            assert_eq!(open.get(id).unwrap().file().id(), id.0.to_bytes());
            assert!(open.lock().segments.len() <= 8);
        }
        let state = open.lock();
        assert!(
            [ids[0], ids[19], ids[18]]
                .iter()
                .all(|id| state.segments.contains_key(id))
        );
        assert!(!state.segments.contains_key(&ids[1]));
    }

    #[test]
    fn a_retired_segment_reads_on_for_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory: Arc<dyn Directory> = Arc::new(Fs::open(folder.path()).unwrap());
        for folder in [TMP, "segments"] {
            directory.create_dir(folder).unwrap();
        }
        let id = seal(&directory, 1);
        let open = OpenSegments::new(directory, 8);
        let held = open.get(id).unwrap();
        open.retire(id);
        open.retire(id);
        assert_eq!(held.file().extents().len(), 1);
        assert_eq!(open.get(id).map(|_| ()).unwrap_err().code(), Code::Damaged);
    }
}
