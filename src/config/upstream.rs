//! How a route reaches its upstream: `upstream_tls` and `http_version`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use url::Url;

use super::raw;
use super::reader::Section;
use super::server::holds_certificate;
use super::values::shown;
use crate::proxy::{ClientCertificate, HttpVersion, UpstreamTls};

pub(super) fn http_version(raw: &raw::Route, at: &Section<'_>) -> HttpVersion {
    let choices = [("auto", HttpVersion::Auto), ("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
    at.choice("http_version", &raw.http_version, &choices).unwrap_or_default()
}

pub(super) fn tls(raw: &raw::Route, upstream: &Url, at: &Section<'_>) -> UpstreamTls {
    let Some(raw) = &raw.upstream_tls else { return UpstreamTls::default() };
    if upstream.scheme() != "https" {
        at.complain("upstream_tls", "means nothing to an upstream that is not https; leave it out, or write https");
    }
    let at = at.section("upstream_tls");
    UpstreamTls {
        ca_file: ca_file(raw, &at),
        certificate: certificate(raw, &at),
        server_name: at.parse("server_name", &raw.server_name, server_name),
    }
}

fn ca_file(raw: &raw::UpstreamTls, at: &Section<'_>) -> Option<PathBuf> {
    let (path, pem) = at.file("ca_file", &raw.ca_file, |path| Ok((path.to_owned(), fs::read(path)?)))?;
    holds_certificate("ca_file", &pem, at).then_some(path)
}

fn certificate(raw: &raw::UpstreamTls, at: &Section<'_>) -> Option<ClientCertificate> {
    let given = [("cert", &raw.cert), ("key", &raw.key)];
    if given.iter().any(|(_, leaf)| leaf.0.is_some()) {
        for (key, _) in given.iter().filter(|(_, leaf)| leaf.0.is_none()) {
            at.missing(key, "the PEM file");
        }
    }
    // Opened, not read: connections read them, and the key should be in memory once.
    let openable = |path: &Path| File::open(path).map(|_| path.to_owned());
    let (cert, key) = (at.file("cert", &raw.cert, openable), at.file("key", &raw.key, openable));
    Some(ClientCertificate { cert: cert?, key: key? })
}

fn server_name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{} is no name or IP address of a certificate", shown(text))),
    }
}
