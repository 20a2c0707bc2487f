//! The crate's only way to a disk: a folder of named files, behind a trait so that tests can own every fault.

use std::any::Any;
use std::fmt;
use std::io;

use crate::Map;

pub mod faulty;
pub mod fs;
pub mod mem;
mod seed;

/// A folder and everything below it, reached by relative names.
///
/// A name is components joined by `/`, none of them empty, `.` or `..`; any other name is refused with
/// [`io::ErrorKind::InvalidInput`]. Where a *folder* is asked for, the empty name is the root itself.
///
/// Every call may block on the disk. What a caller may rely on, and an implementation must keep:
///
/// - What was written is certain to survive a crash only after [`File::sync`] of the file **and**
///   [`sync_dir`](Self::sync_dir) of the folder that holds its name. Until then any part of it, in any order, may be
///   there or not.
/// - A rename is seen whole or not at all, also after a crash.
/// - After a sync has failed, what was written before it may be lost though a later sync succeeds: never
///   retry on the same file.
pub trait Directory: Send + Sync + fmt::Debug {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Creates an empty file, readable by its owner only. The folder must exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken: a file is never emptied by this.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Maps a whole file. The file must be one that is never written or truncated again; it may be renamed or
    /// unlinked, and the map keeps its bytes readable.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn map(&self, name: &str) -> io::Result<Map>;

    /// Gives a file another name, in any folder, at once; a file that had that name is gone, though maps and
    /// handles of it stay good. Durable after `sync_dir` of the new name's folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such file or folder.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Returns when the names in a folder are certain to survive a crash: created, renamed and unlinked ones.
    /// Names in folders below it are not included.
    ///
    /// # Errors
    /// Any; afterwards it is unknown which names survive.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Returns the names of the files in a folder, without the folder's own, ascending; folders are left out.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such folder; [`io::ErrorKind::InvalidData`] if a name is not
    /// UTF-8, since nothing of ours has such a name.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Removes a file's name. Open handles and maps stay good; the space is free when the last is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Creates a folder that only its owner may enter (mode 0700); succeeds if the folder is there already.
    /// Durable after `sync_dir` of the folder above.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if the folder above is missing.
    fn create_dir(&self, name: &str) -> io::Result<()>;

    /// Returns how many bytes can still be written.
    ///
    /// # Errors
    /// Any of the operating system's.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Takes the exclusive lock that a file of this name stands for, creating the file if need be. It is free
    /// again when the answer is dropped or the process ends in any way. Does not wait.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if anyone holds it: another process, or another handle in this one.
    fn lock(&self, name: &str) -> io::Result<Lock>;
}

/// An open file. All calls take `&self` and may come from several threads at once; calls on overlapping bytes
/// are for the caller to order.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file's length costs a call and may fail; emptiness is no separate question"
)]
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `out` with the bytes from `offset` (bytes from the start) on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends before; `out` then holds anything.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`; a gap before it reads as zeros.
    ///
    /// # Errors
    /// Any, such as a full disk; any part of `data` may then have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Returns the file's length in bytes.
    ///
    /// # Errors
    /// Any of the operating system's.
    fn len(&self) -> io::Result<u64>;

    /// Cuts the file, or lengthens it by zeros. Never call this on a file that is mapped.
    ///
    /// # Errors
    /// Any of the operating system's.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Returns when all bytes written so far, and the length, are certain to survive a crash (the file's name
    /// may not be, see [`Directory::sync_dir`]).
    ///
    /// # Errors
    /// Any; afterwards the file must not be trusted nor synced again.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that is held until this is dropped.
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct Lock {
    _guard: Box<dyn Any + Send + Sync>,
}

impl Lock {
    /// Makes a lock from whatever frees it when dropped.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self {
            _guard: Box::new(guard),
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// Refuses names that do not stay inside a directory. For implementations of [`Directory`].
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`].
pub fn check_name(name: &str) -> io::Result<()> {
    let legal =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if name.split('/').all(legal) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("name leaves the directory or is malformed: name=`{name}`"),
    ))
}

/// Returns the folder a name is in; the empty name is the root.
pub fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for name in ["a", "a/b", "tmp/x.cseg", "..a"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(folder_of("a/b/c"), "a/b");
        assert_eq!(folder_of("c"), "");
    }
}
