//! Whom upstreams have to be, and who we are to them: a connector for each way in which routes say so.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::connect::Connector;
use super::target::UpstreamTls;
use crate::denied::DeniedAddresses;
use crate::tls::{self, Credentials};

/// See the module.
pub(super) struct Trust {
    /// For who says nothing else.
    tls: Arc<ClientConfig>,
    denied: DeniedAddresses,
    known: HashMap<UpstreamTls, Known>,
}

/// As its files were when they were read.
#[derive(Clone)]
struct Known {
    credentials: Credentials,
    connector: Connector,
}

/// What is different from now on.
pub(crate) struct TrustChange {
    tls: Option<Arc<ClientConfig>>,
    known: HashMap<UpstreamTls, Known>,
    files: Vec<PathBuf>,
}

/// Why an [`UpstreamTls`] cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// One of its files.
    #[error(transparent)]
    Files(#[from] tls::Error),
    /// Its name.
    #[error("{0:?} is no name that a certificate can have")]
    ServerName(String),
}

impl Trust {
    pub(super) fn new(tls: Arc<ClientConfig>, denied: DeniedAddresses) -> Self {
        Self { tls, denied, known: HashMap::new() }
    }

    /// What opens connections to targets that say this. Reads the files the first time.
    pub(super) fn connector(&mut self, says: &UpstreamTls) -> Result<Connector, TlsError> {
        if let Some(known) = self.known.get(says) {
            return Ok(known.connector.clone());
        }
        let known = self.make(&self.tls, says, read(says)?)?;
        let connector = known.connector.clone();
        self.known.insert(says.clone(), known);
        Ok(connector)
    }

    /// Everything that may fail happens here.
    pub(super) fn prepare(
        &self,
        tls: Option<Arc<ClientConfig>>,
        kept: impl Fn(&UpstreamTls) -> bool,
    ) -> Result<TrustChange, TlsError> {
        let mut change = TrustChange { tls, known: HashMap::new(), files: Vec::new() };
        let base = change.tls.as_ref().unwrap_or(&self.tls);
        for (says, known) in &self.known {
            let credentials = if kept(says) { read(says)? } else { known.credentials.clone() };
            let files = changed_files(says, &known.credentials, &credentials);
            let by_base = change.tls.is_some() && says.ca_file.is_none();
            if by_base || !files.is_empty() {
                change.known.insert(says.clone(), self.make(base, says, credentials)?);
                change.files.extend(files);
            }
        }
        change.files.sort_unstable();
        change.files.dedup();
        Ok(change)
    }

    /// Answers which files held something new.
    pub(super) fn exchange(&mut self, change: TrustChange) -> Vec<PathBuf> {
        if let Some(tls) = change.tls {
            self.tls = tls;
        }
        self.known.extend(change.known);
        change.files
    }

    fn make(&self, base: &ClientConfig, says: &UpstreamTls, credentials: Credentials) -> Result<Known, TlsError> {
        let name = |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()));
        let server_name = says.server_name.as_ref().map(name).transpose()?;
        let connector = Connector::new(&credentials.client_config(base)?, server_name, self.denied.clone());
        Ok(Known { credentials, connector })
    }
}

impl TrustChange {
    /// What opens connections to targets that say this from now on, if something has changed for them.
    pub(super) fn connector(&self, says: &UpstreamTls) -> Option<Connector> {
        self.known.get(says).map(|known| known.connector.clone())
    }
}

fn read(says: &UpstreamTls) -> Result<Credentials, tls::Error> {
    let certificate = says.certificate.as_ref().map(|files| (files.cert.as_path(), files.key.as_path()));
    Credentials::read(says.ca_file.as_deref(), certificate)
}

fn changed_files(says: &UpstreamTls, before: &Credentials, now: &Credentials) -> Vec<PathBuf> {
    let roots = says.ca_file.as_ref().filter(|_| now.differ_in_roots(before));
    let certificate = says.certificate.as_ref().filter(|_| now.differ_in_certificate(before));
    roots.into_iter().chain(certificate.map(|files| &files.cert)).cloned().collect()
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.keys()).finish()
    }
}
