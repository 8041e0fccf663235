//! Compact JWS (RFC 7515): taken apart and verified against a provider's keys with one pinned algorithm.
//!
//! Signed ID tokens and UserInfo answers come through here. The signature itself is checked by `openidconnect`'s keys; which key
//! may be asked is decided here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet};
use openidconnect::{JsonWebKey as _, JsonWebKeyAlgorithm, JwsSigningAlgorithm as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::IdTokenReason;
use super::options::Algorithm;

/// A compact JWS, taken apart and not yet believed.
pub(super) struct Jws<'a> {
    header: Header,
    signed: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

impl<'a> Jws<'a> {
    /// Takes `header.payload.signature` apart.
    ///
    /// # Errors
    /// `Malformed`: not three parts of unpadded base64url, or no JSON header. `Critical`: a `crit` header (RFC 7515 §4.1.11);
    /// we understand no extension.
    pub(super) fn parse(compact: &'a str) -> Result<Self, IdTokenReason> {
        let (signed, signature) = compact.rsplit_once('.').ok_or(IdTokenReason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(IdTokenReason::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| IdTokenReason::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| IdTokenReason::Malformed)?;
        if header.crit.is_some() {
            return Err(IdTokenReason::Critical);
        }
        Ok(Self { header, signed: signed.as_bytes(), payload: decode(payload)?, signature: decode(signature)? })
    }

    /// Checks that it is signed with `algorithm` by one of `keys`, and reads the payload.
    ///
    /// With a `kid` only keys of that name are tried; without one every fitting key is (OIDC Core §10.1 asks for a `kid` when
    /// there are several; providers forget it).
    ///
    /// # Errors
    /// `Algorithm`; `UnknownKey` if no key fits, which a newer key set may mend; `Signature`; `Malformed` if the payload is not
    /// the JSON object asked for.
    pub(super) fn verify<T: DeserializeOwned>(
        &self,
        algorithm: Algorithm,
        keys: &CoreJsonWebKeySet,
    ) -> Result<T, IdTokenReason> {
        if self.header.alg != algorithm.name() {
            return Err(IdTokenReason::Algorithm);
        }
        let mut fitting = keys.keys().iter().filter(|key| self.may_be_signed_by(key, algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(IdTokenReason::UnknownKey);
        }
        if !fitting.any(|key| key.verify_signature(&algorithm.jws(), self.signed, &self.signature).is_ok()) {
            return Err(IdTokenReason::Signature);
        }
        self.unverified_payload()
    }

    /// The payload, unverified: only for a token that TLS vouches for because it came straight from the token endpoint.
    ///
    /// # Errors
    /// `Malformed`.
    pub(super) fn unverified_payload<T: DeserializeOwned>(&self) -> Result<T, IdTokenReason> {
        serde_json::from_slice(&self.payload).map_err(|_| IdTokenReason::Malformed)
    }

    /// The `typ` header: what kind of token it says it is.
    pub(super) fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    /// Whether the token names no key. A wrong signature may then mean that the right key is not among those at hand.
    pub(super) fn names_no_key(&self) -> bool {
        self.header.kid.is_none()
    }

    fn may_be_signed_by(&self, key: &CoreJsonWebKey, algorithm: Algorithm) -> bool {
        let named = self.header.kid.as_ref().is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid));
        let for_signing = key.key_use().is_none_or(openidconnect::JsonWebKeyUse::allows_signature);
        let of_type = algorithm.jws().key_type().as_ref() == Some(key.key_type());
        let for_algorithm = match key.signing_alg() {
            JsonWebKeyAlgorithm::Algorithm(alg) => *alg == algorithm.jws(),
            JsonWebKeyAlgorithm::Unspecified => true,
            JsonWebKeyAlgorithm::Unsupported => false,
        };
        named && for_signing && of_type && for_algorithm
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn reason(compact: &str) -> Option<IdTokenReason> {
        Jws::parse(compact).err()
    }

    #[test]
    fn a_critical_header_is_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#);
        assert_eq!(reason(&format!("{header}.e30.AA")), Some(IdTokenReason::Critical));
    }

    #[test]
    fn two_or_four_parts_are_not_a_jws() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        assert_eq!(reason(&format!("{header}.e30")), Some(IdTokenReason::Malformed));
        assert_eq!(reason(&format!("{header}.e30.AA.AA")), Some(IdTokenReason::Malformed));
    }

    #[test]
    fn another_algorithm_is_refused_before_any_key_is_asked() {
        let keys = CoreJsonWebKeySet::new(Vec::new());
        for alg in ["none", "HS256", "ES256", "rs256"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
            let compact = format!("{header}.e30.AA");
            let verified =
                Jws::parse(&compact).expect("well-formed").verify::<serde_json::Value>(Algorithm::RS256, &keys);
            assert_eq!(verified, Err(IdTokenReason::Algorithm), "{alg}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_believed_that_was_not_signed(text in "[ -~]{0,200}", a in "[A-Za-z0-9_-]{0,40}", b in "[A-Za-z0-9_-]{0,40}") {
            properties::jws(text.as_bytes());
            properties::jws(format!("{a}.{b}.{a}").as_bytes());
            properties::jws(format!("{}.{b}.{a}", URL_SAFE_NO_PAD.encode(&text)).as_bytes());
        }
    }
}
