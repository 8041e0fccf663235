//! Connections to upstreams.
//!
//! Each origin has its own ([`Origin`]). An HTTP/1.1 connection belongs to one call at a time, which drives it (`link`): handing
//! request and answer over to a task for each connection, as pooled clients do, costs more than everything else a call does here.
//! HTTP/2 connections are shared, so they have tasks.

mod answer;
mod connect;
mod link;
mod origin;
mod target;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

pub(crate) use self::answer::Answer;
use self::connect::Connector;
pub(super) use self::origin::{CallError, Origin, Versions};
pub(super) use self::target::Target;

/// What reaches upstreams. Clones share their connections, and whom they trust.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<Mutex<Origins>>);

#[derive(Debug)]
struct Origins {
    connector: Connector,
    known: HashMap<Target, Arc<Origin>>,
}

impl Client {
    /// A client that trusts what `tls` trusts. Its ALPN list is ignored. Opens nothing.
    pub(crate) fn new(tls: &ClientConfig) -> Self {
        Self(Arc::new(Mutex::new(Origins { connector: Connector::new(tls), known: HashMap::new() })))
    }

    /// Opens connections from now on to what `tls` trusts, and leaves the idle ones behind. Calls under way go on.
    pub(crate) fn exchange_roots(&self, tls: &ClientConfig) {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        origins.connector = Connector::new(tls);
        for origin in origins.known.values() {
            origin.exchange_connector(origins.connector.clone());
        }
    }

    /// The connections to a target. Routes to the same one share them.
    pub(super) fn origin(&self, target: Target) -> Arc<Origin> {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let connector = origins.connector.clone();
        match origins.known.entry(target) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let origin = Arc::new(Origin::new(new.key().clone(), connector));
                new.insert(origin).clone()
            }
        }
    }
}

#[cfg(test)]
impl Client {
    /// Trusts nobody; for plain HTTP.
    pub(crate) fn for_tests() -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Self::new(&tls)
    }
}
