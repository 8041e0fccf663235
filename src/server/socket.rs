//! A Unix socket in the file system: its owner's alone from the first moment, taken over from the dead, left alone if somebody
//! answers, and removed at the end.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Why a Unix socket cannot be listened on. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody listens there.
    #[error("a process answers there already; stop it, or name another path")]
    InUse,
    /// Something else is there.
    #[error("a file that is no socket is there; remove it, or name another path")]
    NotASocket,
    /// The system refuses.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A listener and its file.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    file: FileId,
}

/// Tells a file from another one at the same path.
type FileId = (u64, u64);

impl Socket {
    pub(super) async fn bind(path: &Path) -> Result<Self, SocketError> {
        let socket = match bound(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                make_way(path).await?;
                bound(path)
            }
            bound => bound,
        }?;
        // Nobody can connect before `listen`, so nobody comes between. The process's umask would be everybody's in it.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let file = id(&fs::symlink_metadata(path)?);
        Ok(Self { listener: socket.listen(BACKLOG)?, path: path.to_owned(), file })
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    /// While it still listens, so that nobody takes the file for a dead one's meanwhile.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| id(&metadata) == self.file) {
            // What stays is taken over next time.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bound(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    Ok(socket)
}

/// Removes the socket of a process that is gone.
async fn make_way(path: &Path) -> Result<(), SocketError> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(SocketError::NotASocket);
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // Whoever does not let us in, or is too busy to, lives.
        _ => Err(SocketError::InUse),
    }
}

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Operators are few.
const BACKLOG: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn it_is_its_owners_alone_and_goes_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let socket = Socket::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        let (connected, accepted) = tokio::join!(UnixStream::connect(&path), socket.accept());
        assert!(connected.is_ok() && accepted.is_ok());
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_dead_process_left_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "closing it leaves the file");
        let _socket = Socket::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn who_answers_there_keeps_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let _first = Socket::bind(&path).await.unwrap();
        assert!(matches!(Socket::bind(&path).await, Err(SocketError::InUse)));
        assert!(UnixStream::connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn no_other_file_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, nothing] = ["file", "link", "nothing"].map(|name| directory.path().join(name));
        fs::write(&file, "precious").unwrap();
        let before = mode(&file);
        std::os::unix::fs::symlink(&nothing, &link).unwrap();
        for path in [&file, &link] {
            assert!(matches!(Socket::bind(path).await, Err(SocketError::NotASocket)), "{}", path.display());
        }
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("precious", before));
        assert!(!nothing.exists());
    }

    #[tokio::test]
    async fn the_file_of_who_came_after_it_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let first = Socket::bind(&path).await.unwrap();
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        let _second = Socket::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
    }
}
