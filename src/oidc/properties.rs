//! What must hold for whatever somebody sends as a token: run by proptest, by the fuzzer and over its corpus (`fuzz/`).

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::CoreJsonWebKeySet;
use serde_json::{Map, Value};

use super::demand::Demand;
use super::id_token::{Expected, IdToken, Nonce, verify};
use super::jws::Jws;
use super::options::{Algorithm, ProviderOptions};
use crate::clock::Timestamp;

/// A compact JWS, held against keys whose other halves are lost. Whatever its header says, it is believed only if it is one of the
/// few that were signed with them, by the algorithm that is expected and no other.
///
/// # Panics
/// If that does not hold.
pub fn jws(compact: &[u8]) {
    let Ok(compact) = str::from_utf8(compact) else { return };
    let Ok(jws) = Jws::parse(compact) else { return };
    let (signed, _) = compact.rsplit_once('.').expect("it has three parts");
    for algorithm in Algorithm::ALL {
        if jws.verify::<Value>(algorithm, &KEYS).is_ok() {
            assert_eq!(signed_with(algorithm).as_deref(), Some(signed), "it is believed as {}", algorithm.name());
        }
    }
    let _ = jws.unverified_payload::<Map<String, Value>>();
}

/// The claims of a token whose signature is right. Those that are believed say of issuer, audience, subject, times and nonce what was
/// expected, read in the plainest way.
///
/// # Panics
/// If that does not hold.
pub fn id_token(claims: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Map<String, Value>>(claims) else { return };
    let mut provider = ProviderOptions::new("p", ISSUER);
    provider.trusted_audiences = vec!["api".to_owned()];
    let plain = Expected {
        provider: &provider,
        client_id: "shop",
        now: Timestamp::from_unix_seconds(NOW),
        nonce: Nonce::Exactly("n"),
        access_token: "token",
        demand: Demand::default(),
        authenticated_after: None,
        subject: None,
    };
    let demand = Demand { acr_values: vec!["2".to_owned()], max_age: Some(Duration::from_secs(100)) };
    let strong = Expected { demand, authenticated_after: Some(plain.now), nonce: Nonce::Exactly("n"), ..plain };
    if let Ok(token) = verify(claims.clone(), &plain) {
        is_for_us(&claims, &token);
        assert_eq!(claims.get("nonce"), Some(&Value::from("n")));
    }
    if let Ok(token) = verify(claims.clone(), &strong) {
        is_for_us(&claims, &token);
        assert_eq!(claims.get("acr"), Some(&Value::from("2")));
        let at = claims.get("auth_time").and_then(Value::as_f64).expect("it is demanded");
        assert!((seconds(NOW - 161)..=seconds(NOW + 60)).contains(&at), "authenticated at {at}");
    }
    let renewed = Expected { nonce: Nonce::AbsentOr(Some("n")), subject: Some("alice"), ..plain };
    if let Ok(token) = verify(claims.clone(), &renewed) {
        is_for_us(&claims, &token);
        assert_eq!(token.subject, "alice");
        assert!(claims.get("nonce").is_none_or(|nonce| !nonce.is_string() || nonce == "n"), "{claims:?}");
    }
}

fn is_for_us(claims: &Map<String, Value>, token: &IdToken) {
    assert_eq!(claims.get("iss"), Some(&Value::from(ISSUER)));
    let audiences = match &claims["aud"] {
        Value::Array(many) => many.clone(),
        one => vec![one.clone()],
    };
    assert!(audiences.contains(&"shop".into()), "{audiences:?}");
    assert!(audiences.iter().all(|audience| audience == "shop" || audience == "api"), "{audiences:?}");
    match claims.get("azp") {
        Some(party) => assert_eq!(party, "shop"),
        None => assert_eq!(audiences.len(), 1, "several audiences need an azp"),
    }
    assert!(!token.subject.is_empty());
    assert_eq!(claims.get("sub").and_then(Value::as_str), Some(token.subject.as_str()));
    assert!(token.sid.as_deref().is_none_or(|sid| !sid.is_empty()));
    let time = |name: &str| claims.get(name).and_then(Value::as_f64);
    // A fraction of a second is cut off.
    assert!(time("exp").is_some_and(|expiry| expiry > seconds(NOW - 60)), "it has expired");
    assert!(time("iat").is_some_and(|issued| issued < seconds(NOW + 61)), "it is of tomorrow");
    assert!(time("nbf").is_none_or(|not_before| not_before < seconds(NOW + 61)), "it is for tomorrow");
    assert!(claims.get("at_hash").is_none_or(|hash| hash == AT_HASH), "it is for another access token");
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this century are far below 2^52")]
fn seconds(unix: i64) -> f64 {
    unix as f64
}

/// Header and payload of the one token that was signed with this algorithm.
fn signed_with(algorithm: Algorithm) -> Option<String> {
    let kid = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 => "r",
        Algorithm::ES256 => "e",
        Algorithm::EdDSA => "d",
        _ => return None,
    };
    let header = format!("{{\"alg\":\"{}\",\"kid\":\"{kid}\"}}", algorithm.name());
    Some(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(CLAIMS)))
}

/// One of each kind; also a secret, which a provider that publishes it has made worthless.
static KEYS: LazyLock<CoreJsonWebKeySet> =
    LazyLock::new(|| serde_json::from_str(include_str!("properties/keys.json")).expect("the keys are well-formed"));

const ISSUER: &str = "https://id.example";
const NOW: i64 = 1_700_000_000;
/// The left half of the SHA-256 of `token`.
const AT_HASH: &str = "PEaenWxYddN6Q_NT1PiOYQ";
const CLAIMS: &str =
    r#"{"iss":"https://id.example","sub":"alice","aud":"shop","exp":1700000300,"iat":1700000000,"nonce":"n"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// Without it nobody would notice if nothing were ever believed.
    #[test]
    fn the_tokens_that_were_signed_are_believed() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/jws");
        for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
            let file = format!("{corpus}/signed-{}", algorithm.name().to_lowercase());
            let compact = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
            let believed = Jws::parse(&compact).and_then(|jws| jws.verify::<Value>(algorithm, &KEYS));
            assert_eq!(believed.map(|claims| claims["sub"].clone()), Ok("alice".into()), "{}", algorithm.name());
        }
    }
}
