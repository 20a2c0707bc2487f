//! [`Mem`]: a directory in memory that keeps through a crash only what it was told to keep. For tests, of any crate.
//!
//! It holds two images: *live*, which is what calls see, and *durable*, which is what a power cut leaves for certain.
//! [`Mem::crash`] makes a directory as it could look after one: what was not synced is there or not, in part or torn.
//! It must never be kinder than a real disk, and is stricter in one point: writing to a file that was ever mapped panics,
//! because a published file is never written again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seed::Seed;
use super::{Directory, File, Lock, check_name, folder_of};
use crate::Map;

/// What a disk writes whole or not at all, in bytes: a crash tears a write at multiples of this.
pub const SECTOR_BYTES: usize = 512;

/// A directory in memory. A clone is another handle of the same directory.
#[derive(Clone, Default)]
pub struct Mem(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    live: Names,
    durable: Names,
    /// What was done to names since, in order; `live` is `durable` with all of it.
    unsynced: Vec<NameChange>,
    /// What it says is free, if it was told to say so.
    free_bytes: Option<u64>,
}

/// No file has two names: there are no hard links.
#[derive(Clone, Default)]
struct Names {
    /// Without the root, which is always there.
    folders: BTreeSet<String>,
    files: BTreeMap<String, Arc<Inode>>,
}

#[derive(Clone)]
enum NameChange {
    Folder(String),
    Create(String, Arc<Inode>),
    Rename(String, Arc<Inode>),
    Unlink(String, Arc<Inode>),
}

/// A file's content, whatever it is called.
#[derive(Default)]
struct Inode(Mutex<Content>);

#[derive(Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What was written since, in order; `live` is `durable` with all of it.
    unsynced: Vec<Change>,
    mapped: bool,
    locked: bool,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl Mem {
    /// Makes an empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has it say that so many bytes are free; it takes more all the same.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk().free_bytes = Some(bytes);
    }

    /// Returns the directory as it could look after a power cut now; equal seeds give equal directories. Every name that
    /// was not synced is there or not, a rename done or not; of what was written to a file since its last sync there is
    /// nothing, all, a first part, or any part, cut at sectors. Nothing is open, mapped or locked in it. This one goes on.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut seed = Seed::new(seed);
        let disk = self.disk();
        let mut names = disk.durable.clone();
        // All and nothing are likely enough to be seen, however much is under way.
        let keep = seed.below(4);
        for change in &disk.unsynced {
            if keep == 0 || (keep > 1 && seed.coin()) {
                names.apply(change);
            }
        }
        names.drop_unreachable();
        Self::of(names, |content| content.after_crash(&mut seed))
    }

    /// Returns the directory as a process that is killed leaves it to the next one: all that was written is there, and
    /// counts as synced. Nothing is open, mapped or locked in it. This one goes on.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::of(self.disk().live.clone(), |content| content.live.clone())
    }

    /// Returns the names of all files with their lengths in bytes.
    pub fn files(&self) -> Vec<(String, usize)> {
        let disk = self.disk();
        let files = disk.live.files.iter();
        files
            .map(|(name, inode)| (name.clone(), inode.content().live.len()))
            .collect()
    }

    fn of(names: Names, mut bytes: impl FnMut(&Content) -> Vec<u8>) -> Self {
        let files = names
            .files
            .into_iter()
            .map(|(name, inode)| {
                let live = bytes(&inode.content());
                let durable = live.clone();
                let content = Content {
                    live,
                    durable,
                    ..Content::default()
                };
                (name, Arc::new(Inode(Mutex::new(content))))
            })
            .collect();
        let live = Names {
            folders: names.folders,
            files,
        };
        let durable = live.clone();
        Self(Arc::new(Mutex::new(Disk {
            live,
            durable,
            unsynced: Vec::new(),
            free_bytes: None,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Each call leaves it whole, also one that panics for a broken promise.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn change(&mut self, change: NameChange) {
        self.live.apply(&change);
        self.unsynced.push(change);
    }

    fn file(&self, name: &str) -> io::Result<Arc<Inode>> {
        check_name(name)?;
        if self.live.folders.contains(name) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let inode = self.live.files.get(name);
        inode.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Checks that a name may be given to something new.
    fn check_place(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.check_folder(folder_of(name))
    }

    fn check_folder(&self, folder: &str) -> io::Result<()> {
        if folder.is_empty() {
            return Ok(());
        }
        check_name(folder)?;
        if self.live.folders.contains(folder) {
            return Ok(());
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, name: &str) -> io::Result<Arc<Inode>> {
        self.check_place(name)?;
        if self.live.files.contains_key(name) || self.live.folders.contains(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Inode::default());
        self.change(NameChange::Create(name.to_owned(), inode.clone()));
        Ok(inode)
    }
}

impl Names {
    /// Does what was done, as far as it can be done here: others before it may have been lost.
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Folder(name) => {
                self.folders.insert(name.clone());
            }
            NameChange::Create(name, inode) => {
                // Taken if the unlinking of the one before was lost: then this one is too.
                self.files
                    .entry(name.clone())
                    .or_insert_with(|| inode.clone());
            }
            NameChange::Rename(to, inode) => {
                self.files.retain(|_, other| !Arc::ptr_eq(other, inode));
                self.files.insert(to.clone(), inode.clone());
            }
            NameChange::Unlink(name, inode) => {
                if self
                    .files
                    .get(name)
                    .is_some_and(|other| Arc::ptr_eq(other, inode))
                {
                    self.files.remove(name);
                }
            }
        }
    }

    /// Takes away what is in folders that are not there themselves.
    fn drop_unreachable(&mut self) {
        let all = std::mem::take(&mut self.folders);
        // Ascending, so that a folder comes after the one it is in.
        for name in all {
            if self.holds_folder(folder_of(&name)) {
                self.folders.insert(name);
            }
        }
        let files = std::mem::take(&mut self.files);
        self.files = files
            .into_iter()
            .filter(|(name, _)| self.holds_folder(folder_of(name)))
            .collect();
    }

    fn holds_folder(&self, name: &str) -> bool {
        name.is_empty() || self.folders.contains(name)
    }
}

impl NameChange {
    /// Returns the name that is durable once its folder is synced.
    fn name(&self) -> &str {
        match self {
            Self::Folder(name)
            | Self::Create(name, _)
            | Self::Rename(name, _)
            | Self::Unlink(name, _) => name,
        }
    }

    fn is_of(&self, inode: &Arc<Inode>) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Create(_, other) | Self::Rename(_, other) | Self::Unlink(_, other) => {
                Arc::ptr_eq(other, inode)
            }
        }
    }
}

impl Inode {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn change(&mut self, name: &str, change: Change) {
        assert!(
            !self.mapped,
            "a published file is never written again: file=`{name}` was mapped"
        );
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    fn after_crash(&self, seed: &mut Seed) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let count = self.unsynced.len();
        match seed.below(4) {
            0 => {}
            1 => bytes.clone_from(&self.live),
            2 => {
                let first = seed.below(count.saturating_add(1));
                for (i, change) in self.unsynced.iter().enumerate() {
                    if i < first {
                        change.apply(&mut bytes);
                    } else if i == first {
                        change.apply_torn(&mut bytes, seed);
                    }
                }
            }
            _ => {
                for change in &self.unsynced {
                    match seed.below(3) {
                        0 => {}
                        1 => change.apply(&mut bytes),
                        _ => change.apply_torn(&mut bytes, seed),
                    }
                }
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(bytes, *offset, data),
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    fn apply_torn(&self, bytes: &mut Vec<u8>, seed: &mut Seed) {
        match self {
            Self::Write { offset, data } => {
                for (at, part) in sectors(*offset, data) {
                    if seed.coin() {
                        put(bytes, at, part);
                    }
                }
            }
            Self::Length(length) => {
                if seed.coin() {
                    bytes.resize(*length, 0);
                }
            }
        }
    }
}

/// Splits what is written at `offset` where the file's sectors end.
pub(super) fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut at, mut rest) = (offset, data);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let into = at.checked_rem(SECTOR_BYTES).unwrap_or(0);
        let take = SECTOR_BYTES.saturating_sub(into).min(rest.len());
        let (part, after) = rest.split_at_checked(take)?;
        let item = (at, part);
        (at, rest) = (at.saturating_add(take), after);
        Some(item)
    })
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset.saturating_add(data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(data);
    }
}

impl Directory for Mem {
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let inode = self.disk().file(name)?;
        Ok(MemFile::boxed(name, inode))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let inode = self.disk().create(name)?;
        Ok(MemFile::boxed(name, inode))
    }

    fn map(&self, name: &str) -> io::Result<Map> {
        let inode = self.disk().file(name)?;
        let mut content = inode.content();
        content.mapped = true;
        Ok(Map::owned(&content.live))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(to)?;
        let mut disk = self.disk();
        let inode = disk.file(from)?;
        disk.check_place(to)?;
        if disk.live.folders.contains(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            disk.change(NameChange::Rename(to.to_owned(), inode));
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_folder(folder)?;
        let mut left: Vec<NameChange> = Vec::new();
        for change in std::mem::take(&mut disk.unsynced) {
            if folder_of(change.name()) != folder {
                left.push(change);
                continue;
            }
            disk.durable.apply(&change);
            // A rename takes the old name along, also one that was never synced.
            if let NameChange::Rename(_, inode) = &change {
                left.retain(|before| !before.is_of(inode));
            }
        }
        disk.unsynced = left;
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let disk = self.disk();
        disk.check_folder(folder)?;
        let names = disk.live.files.keys();
        Ok(names
            .filter(|name| folder_of(name) == folder)
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.file(name)?;
        disk.change(NameChange::Unlink(name.to_owned(), inode));
        Ok(())
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check_place(name)?;
        if disk.live.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !disk.live.folders.contains(name) {
            disk.change(NameChange::Folder(name.to_owned()));
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk().free_bytes.unwrap_or(u64::MAX))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let mut disk = self.disk();
        let inode = match disk.file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(name)?,
            found => found?,
        };
        let mut content = inode.content();
        if content.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        content.locked = true;
        drop(content);
        Ok(Lock::new(Held(inode)))
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mem").field(&self.files()).finish()
    }
}

struct Held(Arc<Inode>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.content().locked = false;
    }
}

struct MemFile {
    /// What it was called when it was opened; for messages.
    name: String,
    inode: Arc<Inode>,
}

impl MemFile {
    fn boxed(name: &str, inode: Arc<Inode>) -> Box<dyn File> {
        Box::new(Self {
            name: name.to_owned(),
            inode,
        })
    }
}

impl File for MemFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.inode.content();
        let start = index(offset)?;
        let bytes = content.live.get(start..start.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let (offset, data) = (index(offset)?, data.to_vec());
        let mut content = self.inode.content();
        content.change(&self.name, Change::Write { offset, data });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.content().live.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let length = index(bytes)?;
        let mut content = self.inode.content();
        content.change(&self.name, Change::Length(length));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.inode.content();
        let content = &mut *guard;
        for change in content.unsynced.drain(..) {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}

impl fmt::Debug for MemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemFile").field(&self.name).finish()
    }
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 200;

    fn write(dir: &Mem, name: &str, bytes: &[u8]) -> Box<dyn File> {
        let file = dir.create(name).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    /// Returns what each of many crashes leaves of a file.
    fn images(dir: &Mem, name: &str) -> BTreeSet<Option<Vec<u8>>> {
        (0..SEEDS)
            .map(|seed| dir.crash(seed).map(name).ok().map(|map| map.to_vec()))
            .collect()
    }

    #[test]
    fn only_what_was_synced_survives_for_certain() {
        let dir = Mem::new();
        let file = write(&dir, "a", b"one");
        let whole = Some(b"one".to_vec());
        let both = BTreeSet::from([None, Some(vec![]), whole.clone()]);
        assert_eq!(images(&dir, "a"), both, "neither is synced");
        file.sync().unwrap();
        assert_eq!(
            images(&dir, "a"),
            BTreeSet::from([None, whole.clone()]),
            "the content is synced, the name is not"
        );
        dir.sync_dir("").unwrap();
        assert_eq!(images(&dir, "a"), BTreeSet::from([whole.clone()]));
        file.write_at(b"two", 0).unwrap();
        let either = BTreeSet::from([whole, Some(b"two".to_vec())]);
        assert_eq!(images(&dir, "a"), either);
    }

    #[test]
    fn an_unsynced_write_is_torn_at_sectors() {
        let dir = Mem::new();
        let file = write(&dir, "a", &[0; 4 * SECTOR_BYTES]);
        file.sync().unwrap();
        dir.sync_dir("").unwrap();
        file.write_at(&[1; 3 * SECTOR_BYTES], 100).unwrap();
        let mut torn = 0;
        for image in images(&dir, "a") {
            let image = image.unwrap();
            // The write's sectors are 412, 512, 512 and 100 bytes of it.
            let parts: Vec<_> = sectors(100, &image[100..100 + 3 * SECTOR_BYTES]).collect();
            assert_eq!(parts.len(), 4);
            for (at, part) in &parts {
                assert!(part.iter().all(|byte| byte == &part[0]), "inside {at}");
            }
            torn += usize::from(parts.iter().any(|(_, part)| part[0] != parts[0].1[0]));
        }
        assert!(torn > 5, "{torn}");
    }

    #[test]
    fn a_rename_is_done_or_not() {
        let dir = Mem::new();
        dir.create_dir("tmp").unwrap();
        dir.create_dir("kept").unwrap();
        dir.sync_dir("").unwrap();
        write(&dir, "tmp/a", b"new").sync().unwrap();
        write(&dir, "kept/a", b"old").sync().unwrap();
        dir.sync_dir("kept").unwrap();
        dir.rename("tmp/a", "kept/a").unwrap();
        let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
        assert_eq!(images(&dir, "kept/a"), BTreeSet::from([old, new.clone()]));
        for seed in 0..SEEDS {
            let names = dir.crash(seed).files().len();
            assert!(names < 3, "a file has one name");
        }
        dir.sync_dir("tmp").unwrap();
        assert_eq!(images(&dir, "kept/a").len(), 2, "that is the other folder");
        dir.sync_dir("kept").unwrap();
        assert_eq!(images(&dir, "kept/a"), BTreeSet::from([new]));
        assert_eq!(images(&dir, "tmp/a"), BTreeSet::from([None]));
    }

    #[test]
    fn an_unlinked_file_may_come_back_until_its_folder_is_synced() {
        let dir = Mem::new();
        write(&dir, "a", b"x").sync().unwrap();
        dir.sync_dir("").unwrap();
        dir.unlink("a").unwrap();
        assert_eq!(images(&dir, "a").len(), 2);
        dir.sync_dir("").unwrap();
        assert_eq!(images(&dir, "a"), BTreeSet::from([None]));
    }

    #[test]
    fn a_lost_folder_takes_its_files_along() {
        let dir = Mem::new();
        dir.create_dir("f").unwrap();
        write(&dir, "f/a", b"x").sync().unwrap();
        dir.sync_dir("f").unwrap();
        assert_eq!(images(&dir, "f/a").len(), 2);
        dir.sync_dir("").unwrap();
        assert_eq!(images(&dir, "f/a").len(), 1);
    }

    #[test]
    fn a_crash_and_a_copy_are_directories_of_their_own() {
        let dir = Mem::new();
        let lock = dir.lock("lock").unwrap();
        let file = write(&dir, "a", b"x");
        let copy = dir.copy();
        assert_eq!(images(&copy, "a"), BTreeSet::from([Some(b"x".to_vec())]));
        drop(copy.lock("lock").unwrap());
        drop(dir.crash(1).lock("lock").unwrap());
        file.write_at(b"y", 0).unwrap();
        assert_eq!(&*copy.map("a").unwrap(), b"x");
        drop(lock);
    }

    #[test]
    #[should_panic(expected = "a published file is never written again")]
    fn writing_to_a_mapped_file_panics() {
        let dir = Mem::new();
        let file = write(&dir, "a", b"x");
        drop(dir.map("a").unwrap());
        let _written = file.write_at(b"y", 0);
    }

    #[test]
    #[should_panic(expected = "a published file is never written again")]
    fn cutting_a_mapped_file_panics() {
        let dir = Mem::new();
        let file = write(&dir, "a", b"x");
        drop(dir.map("a").unwrap());
        let _cut = file.set_len(0);
    }
}
