//! Files of a directory that nothing leads out of.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::response::{File, InMemory};
use super::{Error, INDEX, Refusal};

/// A directory with the SPA, by its real path.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Looks that it is there and has an index.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Directory { path: path.to_owned(), source };
        let root = path.canonicalize().map_err(unreadable)?;
        if !root.join(INDEX).is_file() {
            return Err(Error::NoIndex { path: path.to_owned() });
        }
        Ok(Self { root })
    }

    /// The file of this name (see [`super::file_name`]). `None` if there is none: a directory, a device, or a link that leads out
    /// of the directory is none.
    pub(super) async fn open(&self, name: &str) -> Result<Option<File>, Refusal> {
        // A drive or a stream on some systems.
        if name.contains(':') {
            return Ok(None);
        }
        let (root, path) = (self.root.clone(), self.root.join(name));
        let opened = tokio::task::spawn_blocking(move || open_below(&root, &path)).await;
        match opened.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(file) => Ok(file),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Refusal::Unreadable { kind: error.kind() }),
        }
    }
}

/// One trip to the thread pool for everything a small file needs.
fn open_below(root: &Path, path: &Path) -> io::Result<Option<File>> {
    let path = path.canonicalize()?;
    // Looked at before it is opened: opening a pipe waits for a writer.
    if !path.starts_with(root) || !path.metadata()?.is_file() {
        return Ok(None);
    }
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    let modified = metadata.modified().ok();
    if metadata.len() > IN_MEMORY {
        return Ok(Some(File::on_disk(file, metadata.len()).modified(modified)));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(Some(File::from(InMemory::new(Bytes::from(bytes))).modified(modified)))
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    // A loop of links is a broken link too, but its kind has no stable name.
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

/// Larger files are streamed, and known by time and length instead of content.
const IN_MEMORY: u64 = 256 * 1024;
