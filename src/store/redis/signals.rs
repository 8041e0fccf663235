//! Signals: told by the scripts that make a change, heard over a connection of its own.
//!
//! Redis keeps none for who is not listening. So whoever was away hears [`Signal::Lost`] when it is back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::PubSub;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Store;
use super::failure::{Done, Failure};
use super::link::{CONNECT_LIMIT, RESPONSE_LIMIT};
use super::servers::Servers;
use crate::store::names::{hex, unhex};
use crate::store::signals::Signals;
use crate::store::{Reason, SessionKey, Signal};

/// A signal on the channel, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Message {
    Ended { key: String, reason: Reason },
    Replaced { key: String },
    Refreshed { key: String, version: u64 },
    Released { key: String },
}

/// What is published.
pub(super) fn told(signal: Signal) -> Vec<u8> {
    let name = |key: SessionKey| hex(key.as_bytes());
    let message = match signal {
        Signal::Ended { key, reason } => Message::Ended { key: name(key), reason },
        Signal::Replaced { key } => Message::Replaced { key: name(key) },
        Signal::Refreshed { key, version } => Message::Refreshed { key: name(key), version },
        Signal::Released { key } => Message::Released { key: name(key) },
        Signal::Lost => return Vec::new(),
    };
    serde_json::to_vec(&message).unwrap_or_default()
}

/// What a message tells. One that we do not understand, from a newer version perhaps, tells that we miss something.
fn heard(message: &[u8]) -> Signal {
    let key = |name: &str| unhex(name).map(SessionKey::from_bytes);
    let signal = serde_json::from_slice(message).ok().and_then(|message| {
        Some(match message {
            Message::Ended { key: name, reason } => Signal::Ended { key: key(&name)?, reason },
            Message::Replaced { key: name } => Signal::Replaced { key: key(&name)? },
            Message::Refreshed { key: name, version } => Signal::Refreshed { key: key(&name)?, version },
            Message::Released { key: name } => Signal::Released { key: key(&name)? },
        })
    });
    signal.unwrap_or(Signal::Lost)
}

/// Subscribes. In a cluster at the `nth` node: each passes on what any other is told.
pub(super) async fn subscribe(store: &Store, nth: usize) -> Done<PubSub> {
    let opening = async {
        let mut listener = match &store.servers {
            Servers::One { place, .. } => place.dialer().listen(&Arc::clone(place).find().await?).await?,
            Servers::Cluster(cluster) => cluster.dialer().listen(&cluster.ear(nth).await?).await?,
        };
        let subscribed = listener.subscribe(store.keys.channel()).await;
        subscribed.map_err(|error| Failure::connecting(&error))?;
        Ok(listener)
    };
    let late = |_| Err(Failure::Unreachable(format!("none within {CONNECT_LIMIT:?}")));
    timeout(CONNECT_LIMIT, opening).await.unwrap_or_else(late)
}

/// Passes signals on for as long as it is polled, over connection after connection.
pub(super) async fn pass_on(store: Arc<Store>, mut listener: PubSub, signals: Signals) {
    for nth in 1.. {
        listen(listener, &signals).await;
        let mut is_known = false;
        listener = loop {
            match subscribe(&store, nth).await {
                Ok(listener) => break listener,
                Err(failure) if !is_known => tracing::warn!(error = %failure, "no signals from Redis"),
                Err(_) => {}
            }
            is_known = true;
            tokio::time::sleep(PAUSE).await;
        };
        signals.send(Signal::Lost);
    }
}

/// Passes signals on until the connection ends, or says nothing even when asked.
async fn listen(listener: PubSub, signals: &Signals) {
    let (mut questions, mut messages) = listener.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(message)) => signals.send(heard(message.get_payload_bytes())),
            Ok(None) => return,
            Err(_) => match timeout(RESPONSE_LIMIT, questions.ping::<redis::Value>()).await {
                Ok(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

/// After so long without a signal the connection is asked whether it still is one.
const QUIET: Duration = Duration::from_secs(5);
/// Between two attempts to listen again.
const PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_told_is_heard() {
        let key = SessionKey::from_bytes([7; 32]);
        let signals = [
            Signal::Ended { key, reason: Reason::ProviderLogout },
            Signal::Replaced { key },
            Signal::Refreshed { key, version: 9 },
            Signal::Released { key },
        ];
        for signal in signals {
            assert_eq!(heard(&told(signal)), signal);
        }
    }

    #[test]
    fn what_is_not_understood_is_something_missed() {
        for message in ["", "{}", r#"{"is":"moved","key":"00"}"#, r#"{"is":"released","key":"00"}"#] {
            assert_eq!(heard(message.as_bytes()), Signal::Lost, "{message}");
        }
    }
}
