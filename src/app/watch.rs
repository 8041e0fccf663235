//! Reads the configuration again on SIGHUP, and when a file that it came from has changed.
//!
//! Files are looked at every few seconds. Notifications of the kernel would be sooner, but miss the links that Kubernetes exchanges,
//! and say nothing on network file systems.

use std::sync::Arc;
use std::time::Duration;

use super::Cloakroom;
use crate::config::{Config, Files, Findings};

/// Reads the configuration from the same sources as at the start.
pub(crate) type Load = Arc<dyn Fn() -> Result<Config, Findings> + Send + Sync>;

/// See the module.
pub(super) struct Watch {
    hangups: Hangups,
    files: Files,
    load: Load,
}

impl Watch {
    /// From here on SIGHUP does not end the process.
    pub(super) fn new(config: &Config, load: Load) -> Self {
        Self { hangups: Hangups::new(), files: config.given.files.clone(), load }
    }

    /// Never ends by itself.
    pub(super) async fn keep(mut self, cloakroom: Cloakroom) {
        loop {
            self.until_due().await;
            let (load, files, cloakroom) = (self.load.clone(), self.files.clone(), cloakroom.clone());
            // A panic is in the log already, and the next change may be read without one.
            if let Ok(files) = tokio::task::spawn_blocking(move || read_again(&load, &files, &cloakroom)).await {
                self.files = files;
            }
        }
    }

    /// Waits for SIGHUP, or for a change that has come to rest: a file that is being written is not read in the middle.
    async fn until_due(&mut self) {
        let mut before = self.files.clone();
        loop {
            tokio::select! {
                () = self.hangups.next() => return,
                () = tokio::time::sleep(POLL) => {}
            }
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || files.now()).await else { continue };
            if now != self.files && now == before {
                return;
            }
            before = now;
        }
    }
}

/// Answers the files to watch from now on.
fn read_again(load: &Load, files: &Files, cloakroom: &Cloakroom) -> Files {
    // Looked at before they are read: what changes meanwhile is seen next time.
    let files = files.now();
    let config = match load() {
        Ok(config) => config,
        Err(findings) => {
            let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
            tracing::error!(
                findings = findings.join("; "),
                "the configuration cannot be used; everything stays as it was"
            );
            return files;
        }
    };
    let files = config.given.files.clone();
    match cloakroom.reload(config) {
        Ok(reloaded) if reloaded.exchanged.is_empty() && reloaded.needs_restart.is_empty() => {
            tracing::info!("the configuration was read again; nothing has changed");
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "the configuration cannot be used; everything stays as it was"),
    }
    files
}

/// SIGHUP, where there is such a thing.
#[cfg(unix)]
struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::hangup()).inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(hangups) => drop(hangups.recv().await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// A change is read after two of them at the latest.
const POLL: Duration = Duration::from_secs(2);
