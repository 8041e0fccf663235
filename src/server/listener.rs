//! What connections are accepted on: a TCP port, or the file of a Unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::Path;

use tokio::net::{TcpListener, TcpStream};

#[cfg(unix)]
use super::socket::{Socket, SocketError};

/// What [`Cloakroom::serve`](crate::Cloakroom::serve) accepts the connections of operators on.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(Socket),
}

/// A connection, and who is at its other end.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    /// Whoever may open the file.
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Listens on a Unix socket at `path`, a file that its owner alone may open (mode 0600) and that goes with the listener. One
    /// that a killed process left there is replaced.
    ///
    /// # Errors
    /// `InUse` if a process answers there, `NotASocket` if another file is there, `System`.
    #[cfg(unix)]
    pub async fn unix(path: impl AsRef<Path>) -> Result<Self, SocketError> {
        Socket::bind(path.as_ref()).await.map(|socket| Self(Kind::Unix(socket)))
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Tcp(listener) => listener.accept().await.map(|(stream, address)| Accepted::Tcp(stream, address)),
            #[cfg(unix)]
            Kind::Unix(socket) => socket.accept().await.map(Accepted::Unix),
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

/// `127.0.0.1:9090`, or `unix:` and the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => error.fmt(f),
            },
            #[cfg(unix)]
            Kind::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
        }
    }
}
