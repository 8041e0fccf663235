//! The discovery document (OIDC Discovery §3), read and judged.

use std::collections::BTreeSet;

use openidconnect::AdditionalProviderMetadata;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::error::DiscoveryReason;

/// What we use of a provider's metadata. Every URL is `https` if the issuer is.
#[derive(Clone, Debug)]
pub(crate) struct ProviderMetadata {
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) revocation_endpoint: Option<Url>,
    pub(crate) end_session_endpoint: Option<Url>,
    /// Responses carry `iss` (RFC 9207 §3).
    pub(crate) promises_issuer: bool,
}

impl ProviderMetadata {
    /// Reads a discovery document and checks that it speaks for `issuer`, byte for byte (OIDC Discovery §4.3).
    ///
    /// # Errors
    /// `Unreadable`, `Issuer`, `NoTokenEndpoint`, `CleartextEndpoint`.
    pub(super) fn read(document: &[u8], issuer: &str) -> Result<Self, DiscoveryReason> {
        let document: Document = serde_json::from_slice(document).map_err(|_| DiscoveryReason::Unreadable)?;
        let found = document.issuer().as_str();
        if found != issuer {
            // It is logged, and may be as long as the document.
            let found = found.chars().take(LONGEST_SHOWN).collect();
            return Err(DiscoveryReason::Issuer { expected: issuer.to_owned(), found });
        }
        let more = document.additional_metadata();
        let metadata = Self {
            authorization_endpoint: document.authorization_endpoint().url().clone(),
            token_endpoint: document.token_endpoint().ok_or(DiscoveryReason::NoTokenEndpoint)?.url().clone(),
            jwks_uri: document.jwks_uri().url().clone(),
            userinfo_endpoint: document.userinfo_endpoint().map(|endpoint| endpoint.url().clone()),
            revocation_endpoint: more.revocation_endpoint.clone(),
            end_session_endpoint: more.end_session_endpoint.clone(),
            promises_issuer: more.authorization_response_iss_parameter_supported,
        };
        if issuer.starts_with("https:") && metadata.endpoints().any(|endpoint| endpoint.scheme() != "https") {
            return Err(DiscoveryReason::CleartextEndpoint);
        }
        Ok(metadata)
    }

    fn endpoints(&self) -> impl Iterator<Item = &Url> {
        [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri]
            .into_iter()
            .chain(&self.userinfo_endpoint)
            .chain(&self.revocation_endpoint)
            .chain(&self.end_session_endpoint)
    }
}

/// The origins of the pages that a provider shows to people, as browsers write them, each once.
pub(super) fn origins_of_pages(issuer: &str, metadata: Option<&ProviderMetadata>) -> Vec<String> {
    let endpoints = metadata
        .into_iter()
        .flat_map(|metadata| std::iter::once(&metadata.authorization_endpoint).chain(&metadata.end_session_endpoint));
    let (issuer, is_page) = (Url::parse(issuer).ok(), |url: &&Url| matches!(url.scheme(), "http" | "https"));
    let origins = issuer.iter().chain(endpoints).filter(is_page).map(|url| url.origin().ascii_serialization());
    origins.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Fields beyond OIDC Discovery.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct More {
    revocation_endpoint: Option<Url>,
    end_session_endpoint: Option<Url>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

type Document = openidconnect::ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

const LONGEST_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(issuer: &str, token_endpoint: &str) -> Vec<u8> {
        serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": token_endpoint,
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "Ed25519", "none"],
            "end_session_endpoint": format!("{issuer}/end"),
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_document_of_another_issuer_is_refused_even_by_a_slash() {
        let document = document("https://id.example", "https://id.example/token");
        let reason = ProviderMetadata::read(&document, "https://id.example/").err();
        assert!(matches!(reason, Some(DiscoveryReason::Issuer { .. })), "{reason:?}");
        assert!(ProviderMetadata::read(&document, "https://id.example").is_ok());
    }

    #[test]
    fn an_endpoint_without_tls_is_refused_if_the_issuer_has_it() {
        let document = document("https://id.example", "http://id.example/token");
        assert_eq!(
            ProviderMetadata::read(&document, "https://id.example").err(),
            Some(DiscoveryReason::CleartextEndpoint)
        );
    }

    #[test]
    fn pages_are_where_the_issuer_and_the_endpoints_for_people_are() {
        let issuer = "https://id.example/realms/a";
        let mut document: serde_json::Value =
            serde_json::from_slice(&document(issuer, "https://tokens.example/token")).expect("JSON");
        let origins = |document: &serde_json::Value| {
            let metadata = ProviderMetadata::read(document.to_string().as_bytes(), issuer).expect("readable");
            origins_of_pages(issuer, Some(&metadata))
        };
        assert_eq!(origins_of_pages(issuer, None), ["https://id.example"]);
        assert_eq!(origins(&document), ["https://id.example"]);
        document["authorization_endpoint"] = "https://login.example:8443/authorize".into();
        document["end_session_endpoint"] = "https://out.example/end".into();
        assert_eq!(origins(&document), ["https://id.example", "https://login.example:8443", "https://out.example"]);
        assert!(origins_of_pages("urn:nobody", None).is_empty(), "an empty list frames nowhere");
    }

    #[test]
    fn unknown_algorithms_in_the_document_do_no_harm() {
        let document = document("http://127.0.0.1:9", "http://127.0.0.1:9/token");
        let metadata = ProviderMetadata::read(&document, "http://127.0.0.1:9").expect("readable");
        assert!(!metadata.promises_issuer);
        assert!(metadata.end_session_endpoint.is_some());
    }
}
