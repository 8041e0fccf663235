//! Signals from every replica, this one included: one connection that listens, as long as the backend lives.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Done, Failure, payload};
use crate::store::Signal;
use crate::store::signals::Signals;

/// Listens from now on. Dropping the answer ends it.
pub(super) async fn listen(options: PgConnectOptions, signals: Signals) -> Done<AbortOnDropHandle<()>> {
    let first = connect(&options).await?;
    Ok(AbortOnDropHandle::new(tokio::spawn(follow(first, options, signals))))
}

async fn follow(mut listener: PgListener, options: PgConnectOptions, signals: Signals) {
    loop {
        let Failure(error) = relay(&mut listener, &signals).await;
        tracing::warn!(error, "signals of the store are interrupted");
        // Now, because nobody hears what happens meanwhile, and again when somebody does.
        signals.send(Signal::Lost);
        listener = loop {
            match connect(&options).await {
                Ok(listener) => break listener,
                Err(_) => sleep(PAUSE).await,
            }
        };
        tracing::info!("signals of the store are back");
        signals.send(Signal::Lost);
    }
}

/// Passes signals on until the connection fails. One that says nothing is asked, for nobody tells us when a network falls silent.
async fn relay(listener: &mut PgListener, signals: &Signals) -> Failure {
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => signals.send(payload::read(notification.payload())),
            Ok(Ok(None)) => return Failure("the connection was closed".to_owned()),
            Ok(Err(error)) => return error.into(),
            Err(_) => match timeout(ANSWER, listener.execute("SELECT 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Failure("no answer in time".to_owned()),
            },
        }
    }
}

/// A pool for every connection: an old one that hangs would keep its place.
async fn connect(options: &PgConnectOptions) -> Done<PgListener> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options.clone());
    let listening = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false); // a gap must be told
        let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(&mut listener).await?;
        listener.listen(&channel).await?;
        Ok(listener)
    };
    timeout(CONNECT, listening).await.unwrap_or_else(|_| Err(Failure("no answer in time".to_owned())))
}

/// As `cloakroom_tell` has it.
const CHANNEL: &str = "SELECT 'cloakroom_' || 'cloakroom_sessions'::regclass::oid";
/// After so long without a signal the connection is asked…
const QUIET: Duration = Duration::from_secs(1);
/// …and has this long to answer.
const ANSWER: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(5);
/// Between two attempts to listen again.
const PAUSE: Duration = Duration::from_millis(250);
