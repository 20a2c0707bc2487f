//! The real disk. The only file of the engine that may use `std::fs`.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Directory, File, Lock, check_name};
use crate::Map;

/// A folder of the file system. See [`Directory`] for the contract.
#[derive(Debug)]
pub struct Fs {
    root: PathBuf,
}

impl Fs {
    /// Opens a folder, creating it and those above it (mode 0700) where they are missing. The path is resolved
    /// now: a later change of the working folder does not matter.
    ///
    /// # Errors
    /// Any of the operating system's.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)?;
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.root.join(name))
    }

    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() {
            return Ok(self.root.clone());
        }
        self.file(name)
    }
}

impl Directory for Fs {
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(self.file(name)?)?;
        Ok(Box::new(FsFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.file(name)?)?;
        Ok(Box::new(FsFile(file)))
    }

    fn map(&self, name: &str) -> io::Result<Map> {
        let file = fs::File::open(self.file(name)?)?;
        let bytes = file.metadata()?.len();
        Map::of_file(file.as_fd(), bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from)?, self.file(to)?)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        fs::File::open(self.folder(folder)?)?.sync_all()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder(folder)?)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            let name = entry.file_name().into_string().map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "file name is not UTF-8: folder=`{folder}` name=`{}`",
                        name.display()
                    ),
                )
            })?;
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name)?)
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let path = self.file(name)?;
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.file(name)?)?;
        // The lock belongs to this open file, not to the process: it ends when the handle is closed, which the
        // kernel does for a killed process too.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Lock::new(file))
    }
}

#[derive(Debug)]
struct FsFile(fs::File);

impl File for FsFile {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let one = Fs::open(folder.path()).unwrap();
        let two = Fs::open(folder.path()).unwrap();
        let held = one.lock("lock").unwrap();
        assert_eq!(
            two.lock("lock").unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(
            one.lock("lock").unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(held);
        drop(two.lock("lock").unwrap());
    }

    #[test]
    fn files_do_what_the_contract_says() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Fs::open(folder.path().join("new/root")).unwrap();
        dir.create_dir("sub").unwrap();
        dir.create_dir("sub").unwrap();
        let mode = |name: &str| {
            let path = folder.path().join("new/root").join(name);
            path.metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("sub"), 0o700);

        let kind = |result: io::Result<Box<dyn File>>| result.unwrap_err().kind();
        assert_eq!(kind(dir.open("sub/a")), io::ErrorKind::NotFound);
        assert_eq!(kind(dir.create("../a")), io::ErrorKind::InvalidInput);
        let file = dir.create("sub/a").unwrap();
        assert_eq!(mode("sub/a"), 0o600);
        assert_eq!(kind(dir.create("sub/a")), io::ErrorKind::AlreadyExists);

        assert_eq!(dir.map("sub/a").unwrap().len(), 0);
        file.write_at(b"xyz", 2).unwrap();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 5);
        let mut out = [9; 5];
        file.read_at(&mut out, 0).unwrap();
        assert_eq!(&out, b"\0\0xyz");
        let short = file.read_at(&mut out, 1).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        file.set_len(3).unwrap();
        assert_eq!(&*dir.map("sub/a").unwrap(), b"\0\0x");

        dir.rename("sub/a", "b").unwrap();
        dir.sync_dir("").unwrap();
        dir.sync_dir("sub").unwrap();
        assert_eq!(dir.list("").unwrap(), ["b"]);
        assert!(dir.list("sub").unwrap().is_empty());
        let map = dir.map("b").unwrap();
        dir.unlink("b").unwrap();
        assert_eq!(&*map, b"\0\0x");
        assert_eq!(dir.unlink("b").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
