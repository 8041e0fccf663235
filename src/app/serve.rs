//! Runs a [`Cloakroom`] on its listeners until it is told to stop.

use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{BuildError, Cloakroom, Site};
#[cfg(unix)]
use crate::server::SocketError;
use crate::server::{self, Limits, Listener};

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It could not be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A Unix socket cannot be listened on.
    #[cfg(unix)]
    #[error("cannot listen on unix:{}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: SocketError,
    },
    /// The listener's certificate or key cannot be used.
    #[error("cannot use the listener's certificate: {0}")]
    Certificate(String),
}

impl ServeError {
    /// The configuration has to be mended; nothing else would help.
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Build(error) => error.is_misconfiguration(),
            Self::Certificate(_) => true,
            #[cfg(unix)]
            Self::Socket { source, .. } => matches!(source, SocketError::NotASocket),
            Self::Listen { .. } => false,
        }
    }
}

impl Cloakroom {
    /// Serves the public listener (and the admin listener, on a `TcpListener` or on a Unix socket) until `shutdown` is over; then
    /// accepts nothing more, lets requests under way finish within the configured `drain`, and waits for token renewals, so that no
    /// rotated token is lost. The admin listener goes on until then, and `/readyz` says that it stops.
    ///
    /// # Errors
    /// `Certificate`.
    pub async fn serve(
        self,
        listener: TcpListener,
        admin: Option<Listener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let acceptor = self.live.acceptor().map_err(|error| ServeError::Certificate(error.to_string()))?;
        let limits = self.limits();
        self.announce(&listener, admin.as_ref());
        let (stopping, stopped) = (self.stopping.clone(), CancellationToken::new());
        let told = tokio::spawn(async move {
            shutdown.await;
            stopping.cancel();
        });
        let public = async {
            server::serve(listener, acceptor, self.edge.clone(), limits, self.stopping.clone()).await;
            self.drain().await;
            stopped.cancel();
        };
        let inner = async {
            if let Some(admin) = admin {
                server::serve(admin, None, self.admin_router(), limits, stopped.clone()).await;
            }
        };
        tokio::join!(public, inner);
        told.abort();
        tracing::info!("stopped");
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits::new(&self.live.running().server)
    }

    fn announce(&self, listener: &TcpListener, admin: Option<&Listener>) {
        let listen = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        for Site { frontend, .. } in self.edge.frontends.iter() {
            tracing::info!(frontend = frontend.id(), url = %frontend.url(), %listen, "serving");
        }
        if let Some(admin) = admin {
            tracing::info!(listen = %admin, "answering health checks, metrics and operators");
        }
        tracing::info!(keys = self.live.key_ids().join(", "), "the first of these master keys seals");
        for weakened in &self.live.running().weakened {
            tracing::warn!("weakened on purpose: {weakened}");
        }
    }
}
