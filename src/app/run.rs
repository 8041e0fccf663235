//! What the program does: listens where the configuration says, and runs until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use super::watch::{Load, Watch};
use super::{BuildError, Cloakroom, CloakroomBuilder, ServeError, keys, scope};
use crate::config::{AdminListen, Config};
use crate::server::Listener;
use crate::session::Upkeep;
use crate::store::{self, Breaker, Keyring, MemoryBackend, SealedStore};

/// Runs until SIGTERM or ctrl-C, then lets requests under way finish. Reads the configuration again with `load` on SIGHUP, and when
/// its files change. `exporter` writes out the metrics.
///
/// # Errors
/// See [`ServeError`]; nothing is served then.
pub(crate) async fn serve(
    config: Config,
    load: Load,
    exporter: impl Fn() -> String + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let watch = Watch::new(&config, load);
    let listener = listen(config.server.listen)?;
    run(Cloakroom::builder(config).metrics(exporter), listener, until_told(), Some(watch)).await
}

/// The same on a listener that is there already, until `shutdown`, with a configuration that stays.
///
/// # Errors
/// See [`ServeError`]; nothing is served then.
#[cfg(feature = "demo")]
pub(crate) async fn serve_on(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    run(Cloakroom::builder(config), listener, shutdown, None).await
}

async fn run(
    builder: CloakroomBuilder,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    watch: Option<Watch>,
) -> Result<(), ServeError> {
    let admin = match &builder.config.server.admin_listen {
        Some(at) => Some(listen_for_operators(at).await?),
        None => None,
    };
    let cloakroom = builder.build().await?;
    let watching = watch.map(|watch| tokio::spawn(watch.keep(cloakroom.clone())));
    let served = cloakroom.serve(listener, admin, shutdown).await;
    if let Some(watching) = watching {
        watching.abort();
    }
    served
}

/// Puts everything together that does not need the store, and serves nothing.
///
/// # Errors
/// What [`serve`] would fail with because of the configuration.
pub(crate) async fn rehearse(config: Config) -> Result<(), ServeError> {
    let cloakroom = Cloakroom::builder(config).backend(Arc::new(MemoryBackend::new())).build().await?;
    cloakroom.live.acceptor().map_err(|error| ServeError::Certificate(error.to_string()))?;
    Ok(())
}

/// The configured sessions, for whoever looks after them while others serve. Opens the store, which must be there.
///
/// # Errors
/// `Store`, `NoKey`.
pub(crate) async fn upkeep(config: &Config) -> Result<Upkeep, BuildError> {
    let keyring = Arc::new(Keyring::new(keys(config)?).ok_or(BuildError::NoKey)?);
    let backend = store::open_existing(&config.store.options()).await?;
    let breaker = Arc::new(Breaker::new(config.store.timeout));
    let sealed = |options| SealedStore::new(backend.clone(), keyring.clone(), scope(options), breaker.clone());
    Ok(Upkeep::new(config.frontends.iter().map(sealed).collect()))
}

/// Like `TcpListener::bind`, which lets 128 connections wait to be accepted: in a burst of more, the others are made a second later,
/// when their first packet is sent again.
fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        #[cfg(not(windows))]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().map_err(|source| ServeError::Listen { address, source })
}

async fn listen_for_operators(at: &AdminListen) -> Result<Listener, ServeError> {
    match at {
        AdminListen::Address(address) => listen(*address).map(Listener::from),
        #[cfg(unix)]
        AdminListen::Unix(path) => {
            Listener::unix(path).await.map_err(|source| ServeError::Socket { path: path.clone(), source })
        }
    }
}

/// Is over after SIGTERM or ctrl-C.
pub(crate) async fn until_told() {
    signalled().await;
    tracing::info!("told to stop; requests under way may finish");
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    let _ = tokio::signal::ctrl_c().await;
}

/// What may wait to be accepted; the system has a limit of its own (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
