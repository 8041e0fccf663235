//! `[providers.NAME]`: who logs people in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::path::KeyPath;
use super::raw;
use super::reader::{Reader, Section, choose};
use super::values::{is_cleartext, plain_url, shown};
use crate::oidc::{Algorithm, ProviderOptions};

/// What frontends may name. A provider that has findings is still there, so that frontends do not complain about it as well.
pub(super) type Providers = BTreeMap<String, Arc<ProviderOptions>>;

pub(super) fn read_all(raw: &BTreeMap<String, raw::Provider>, reader: &Reader<'_>) -> Providers {
    let one = |(name, raw): (&String, &raw::Provider)| {
        let at = reader.section(KeyPath::of("providers").key(name));
        (name.clone(), Arc::new(read(name, raw, &at)))
    };
    raw.iter().map(one).collect()
}

fn read(name: &str, raw: &raw::Provider, at: &Section<'_>) -> ProviderOptions {
    at.check_name(name);
    if raw.issuer.0.is_none() {
        at.missing("issuer", "the issuer");
    }
    let issuer = at.parse("issuer", &raw.issuer, issuer).unwrap_or_default();
    if url::Url::parse(&issuer).is_ok_and(|url| is_cleartext(&url)) {
        at.weaken(
            "issuer",
            format!("{issuer} is cleartext: codes, secrets and keys can be read and changed on the way; use https"),
        );
    }
    let mut options = ProviderOptions::new(name, issuer);
    options.clock_skew = at.duration_or_zero("clock_skew", &raw.clock_skew, options.clock_skew);
    options.timeout = at.duration("timeout", &raw.timeout, options.timeout);
    options.id_token_alg = at.parse("id_token_alg", &raw.id_token_alg, algorithm).unwrap_or(options.id_token_alg);
    options.trusted_audiences = at.list("trusted_audiences", &raw.trusted_audiences, not_empty).unwrap_or_default();
    options.acr_order = at.list("acr_order", &raw.acr_order, not_empty).unwrap_or_default();
    if options.clock_skew > MAX_SKEW {
        at.complain("clock_skew", "more than 10m would take tokens that ran out long ago");
    }
    options
}

/// The identifier stays byte for byte as it was written: documents and tokens are compared with it (OIDC Discovery §4.3).
fn issuer(text: &str) -> Result<String, String> {
    if let Some((issuer, _)) = text.split_once("/.well-known/") {
        return Err(format!("{} is the issuer's metadata; write {}", shown(text), shown(issuer)));
    }
    plain_url(text).map(|_| text.to_owned())
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text {
        "none" => {
            return Err("\"none\" would take ID tokens that anybody can write; pin the provider's algorithm".to_owned());
        }
        "HS256" | "HS384" | "HS512" => {
            return Err(format!(
                "\"{text}\" would make the client secret a signing key; have the provider sign with RS256 or ES256"
            ));
        }
        _ => {}
    }
    choose(text, &Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm)))
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
}

const MAX_SKEW: Duration = Duration::from_mins(10);
