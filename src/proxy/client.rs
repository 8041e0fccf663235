//! Connections to upstreams.
//!
//! Each origin has its own ([`Origin`]). An HTTP/1.1 connection belongs to one call at a time, which drives it (`link`): handing
//! request and answer over to a task for each connection, as pooled clients do, costs more than everything else a call does here.
//! HTTP/2 connections are shared, so they have tasks.
//!
//! `pools` holds what is open, to which addresses, and `queue` who waits for it; `health` says what is avoided; `outline` remembers
//! what may be sent again.

mod answer;
mod backoff;
mod connect;
mod health;
mod lent;
mod link;
mod once;
mod opening;
mod origin;
mod outline;
mod pools;
mod queue;
mod shared;
mod socket;
mod stage;
mod target;
mod tcp;
mod trust;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ClientConfig;

pub(crate) use self::answer::Answer;
pub(super) use self::origin::{CallError, Origin, Versions};
pub(super) use self::stage::Stage;
pub(super) use self::target::Target;
pub use self::target::{ClientCertificate, HttpVersion, UpstreamTls};
pub(super) use self::trust::TlsError;
use self::trust::Trust;
pub(crate) use self::trust::TrustChange;
use crate::denied::DeniedAddresses;

/// What reaches upstreams. Clones share their connections, whom they trust, and who they are.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<Mutex<Origins>>);

#[derive(Debug)]
struct Origins {
    trust: Trust,
    known: HashMap<Target, Arc<Origin>>,
}

impl Client {
    /// A client that trusts what `tls` trusts, where a route says nothing else, and calls nobody at a denied address. The ALPN list
    /// of `tls` is ignored. Opens nothing.
    pub(crate) fn new(tls: Arc<ClientConfig>, denied: DeniedAddresses) -> Self {
        Self(Arc::new(Mutex::new(Origins { trust: Trust::new(tls, denied), known: HashMap::new() })))
    }

    /// Reads the files of [`UpstreamTls`] again, of those that are `kept`: whose routes still name these files. `tls` is what the
    /// others trust from now on, if that has changed.
    ///
    /// # Errors
    /// One of the files cannot be used.
    pub(crate) fn prepare(
        &self,
        tls: Option<Arc<ClientConfig>>,
        kept: impl Fn(&UpstreamTls) -> bool,
    ) -> Result<TrustChange, TlsError> {
        self.origins().trust.prepare(tls, kept)
    }

    /// Opens connections from now on with what has changed, and leaves the idle ones behind. Calls under way go on. Answers which
    /// files held something new.
    pub(crate) fn exchange(&self, change: TrustChange) -> Vec<PathBuf> {
        let mut origins = self.origins();
        for (target, origin) in &origins.known {
            if let Some(connector) = change.connector(&target.tls) {
                origin.exchange_connector(connector);
            }
        }
        origins.trust.exchange(change)
    }

    /// The connections to a target. Routes to the same one share them.
    ///
    /// # Errors
    /// What the target's [`UpstreamTls`] says cannot be used.
    pub(super) fn origin(&self, target: Target) -> Result<Arc<Origin>, TlsError> {
        let mut origins = self.origins();
        let connector = origins.trust.connector(&target.tls)?;
        Ok(match origins.known.entry(target) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let origin = Arc::new(Origin::new(new.key().clone(), connector));
                new.insert(origin).clone()
            }
        })
    }

    fn origins(&self) -> MutexGuard<'_, Origins> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Client {
    /// Trusts nobody; for plain HTTP.
    pub(crate) fn for_tests() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Self::new(Arc::new(tls), DeniedAddresses::default())
    }
}
