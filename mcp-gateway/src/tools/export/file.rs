//! [`NewFile`]: a file that is whole or is not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::source::off_thread;

/// A file that is being written. Dropped before [`finish`](Self::finish), it is gone.
pub(super) struct NewFile {
    file: Option<File>,
    /// Where it is written.
    at: Draft,
    path: PathBuf,
    pub(super) bytes: u64,
}

/// A path that is removed when this is dropped, unless it is kept.
struct Draft(Option<PathBuf>);

impl Drop for Draft {
    fn drop(&mut self) {
        // There may be nothing to remove, and nobody is left to be told.
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(%error, "a draft stays behind");
        }
    }
}

impl NewFile {
    /// Makes the file. One that is there stays as it is, and is an error unless `overwrite` is set; then it is replaced at
    /// the end, all at once.
    pub(super) async fn create(path: &str, overwrite: bool) -> io::Result<Self> {
        let path = PathBuf::from(path);
        off_thread(move || {
            let at = if overwrite {
                draft(&path)?
            } else {
                path.clone()
            };
            let file = OpenOptions::new().write(true).create_new(true).open(&at)?;
            Ok(Self {
                file: Some(file),
                at: Draft(Some(at)),
                path,
                bytes: 0,
            })
        })
        .await
    }

    /// Adds bytes.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let Some(mut file) = self.file.take() else {
            return Err(io::Error::other("an earlier write has failed"));
        };
        self.bytes += bytes.len() as u64;
        let file = off_thread(move || {
            file.write_all(&bytes)?;
            Ok(file)
        });
        self.file = Some(file.await?);
        Ok(())
    }

    /// Makes it durable and gives it its name.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            return Err(io::Error::other("an earlier write has failed"));
        };
        let path = std::mem::take(&mut self.path);
        let at = self.at.0.clone();
        off_thread(move || {
            file.sync_all()?;
            match at {
                Some(at) if at != path => fs::rename(at, path),
                _ => Ok(()),
            }
        })
        .await?;
        self.at.0 = None;
        Ok(())
    }
}

/// Returns a name beside the file that replaces what is there, which has to be a regular file.
fn draft(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "what is there is not a regular file",
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".part-{}", std::process::id()));
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.car");
        let name = path.to_str().unwrap();
        let mut file = NewFile::create(name, false).await.unwrap();
        file.write(b"one".to_vec()).await.unwrap();
        drop(file);
        assert!(!path.exists());
        let mut file = NewFile::create(name, false).await.unwrap();
        file.write(b"one".to_vec()).await.unwrap();
        file.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[tokio::test]
    async fn what_is_there_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.car");
        let name = path.to_str().unwrap();
        fs::write(&path, "old").unwrap();
        let refused = NewFile::create(name, false).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut file = NewFile::create(name, true).await.unwrap();
        file.write(b"new".to_vec()).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut file = NewFile::create(name, true).await.unwrap();
        file.write(b"new".to_vec()).await.unwrap();
        file.finish().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_and_a_folder_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("target"), "old").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("target", &link).unwrap();
        for path in [&link, folder.path()] {
            let refused = NewFile::create(path.to_str().unwrap(), true).await;
            let kind = refused.map(drop).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidInput);
            assert!(
                NewFile::create(path.to_str().unwrap(), false)
                    .await
                    .is_err()
            );
        }
        assert_eq!(fs::read(folder.path().join("target")).unwrap(), b"old");
    }
}
