//! [`CarFile`]: the file that `at_import` reads, and which files it may.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use carrack_schema::limits::CHUNK_BYTES_MAX;

/// Which files may be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportRule {
    /// None: the tool is not offered.
    Nothing,
    /// All that this process may read: the caller is the local user.
    AnyFile,
    /// Regular files below this folder, reached without a symbolic link.
    Below(PathBuf),
}

/// An open CAR file.
pub(crate) struct CarFile {
    file: File,
    size: u64,
}

impl ImportRule {
    /// Opens a file that the rule allows.
    ///
    /// Below a folder there is one error for all refusals, so that nobody learns which files exist.
    pub(crate) async fn open(&self, source: &str) -> io::Result<CarFile> {
        let (rule, path) = (self.clone(), PathBuf::from(source));
        off_thread(move || {
            let file = match &rule {
                Self::Nothing => return Err(refused()),
                Self::AnyFile => open_any(&path)?,
                Self::Below(root) => open_below(root, &path).map_err(|error| {
                    tracing::debug!(%error, "refused a source");
                    refused()
                })?,
            };
            let size = file.metadata()?.len();
            Ok(CarFile { file, size })
        })
        .await
    }
}

fn refused() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "there is no such file that this gateway may import; it takes regular files below its --import-root, by a path relative to it",
    )
}

fn open_any(path: &Path) -> io::Result<File> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    File::open(path)
}

/// Walks down from the root, one component at a time and never through a link, so that no change of the tree
/// meanwhile leads out of it.
#[cfg(all(unix, feature = "http"))]
fn open_below(root: &Path, path: &Path) -> io::Result<File> {
    use std::path::Component;

    use rustix::fs::{Mode, OFlags, openat};

    let relative = path.strip_prefix(root).unwrap_or(path);
    let mut names = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    let last = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
    let common = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = std::os::fd::OwnedFd::from(File::open(root)?);
    for name in names {
        folder = openat(&folder, name, common | OFlags::DIRECTORY, Mode::empty())?;
    }
    // Non-blocking, so that opening a pipe does not wait for its writer; a regular file does not mind.
    let file = File::from(openat(
        &folder,
        last,
        common | OFlags::NONBLOCK,
        Mode::empty(),
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Without HTTP nobody names a root.
#[cfg(not(all(unix, feature = "http")))]
fn open_below(_root: &Path, _path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

impl CarFile {
    /// Returns its length in bytes when it was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the next bytes, none at the end.
    pub(crate) async fn chunk(self) -> io::Result<(Self, Vec<u8>)> {
        let Self { mut file, size } = self;
        let (file, chunk) = off_thread(move || {
            let mut chunk = Vec::new();
            (&mut file)
                .take(CHUNK_BYTES_MAX as u64)
                .read_to_end(&mut chunk)?;
            Ok((file, chunk))
        })
        .await?;
        Ok((Self { file, size }, chunk))
    }
}

/// Runs what waits for the disk where it holds up no other call. WASI has one thread, and waits.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if cfg!(target_family = "wasm") {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn content(rule: &ImportRule, source: &str) -> Result<String, String> {
        let file = rule.open(source).await.map_err(|error| error.to_string())?;
        let (_, chunk) = file.chunk().await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(chunk).unwrap())
    }

    #[cfg(feature = "http")]
    #[tokio::test]
    async fn below_a_root_only_its_regular_files_are_read() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a.car"), "a").unwrap();
        fs::write(root.join("sub/b.car"), "b").unwrap();
        fs::write(base.path().join("secret"), "s").unwrap();
        for (link, target) in [("out", "../secret"), ("dir", ".."), ("in", "a.car")] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        let rule = ImportRule::Below(root.clone());
        let absolute = root.join("sub/b.car");
        for (source, expected) in [
            ("a.car", "a"),
            ("./sub/b.car", "b"),
            (absolute.to_str().unwrap(), "b"),
        ] {
            assert_eq!(
                content(&rule, source).await.as_deref(),
                Ok(expected),
                "{source}"
            );
        }
        let secret = base.path().join("secret");
        for source in [
            "missing.car",
            "../secret",
            "sub/../../secret",
            secret.to_str().unwrap(),
            "/etc/passwd",
            "out",
            "dir/secret",
            "in",
            "sub",
            "",
            ".",
            "a.car/x",
        ] {
            let refusal = content(&rule, source).await.unwrap_err();
            assert_eq!(refusal, refused().to_string(), "{source}");
        }
    }

    #[tokio::test]
    async fn a_folder_or_a_pipe_is_not_waited_for() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().to_str().unwrap();
        assert_eq!(
            content(&ImportRule::AnyFile, path).await.unwrap_err(),
            "it is not a regular file"
        );
        assert!(content(&ImportRule::Nothing, path).await.is_err());
    }
}
