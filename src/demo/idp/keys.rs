//! The provider's keys, and JWS compact serialisation by hand (RFC 7515 §7.1), so that it can also be done wrong.
//!
//! Keys are numbered by generation and made once per process: every provider of a process signs with the same ones, which keeps
//! tests fast and matters only to those.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::demo::lock;

/// What a client has its ID tokens signed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registered names say it")]
pub enum SigningAlgorithm {
    #[default]
    RS256,
    ES256,
}

impl SigningAlgorithm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::RS256 => Self::ES256,
            Self::ES256 => Self::RS256,
        }
    }
}

/// The keys of one generation: one for each algorithm.
pub(super) struct SigningKeys {
    generation: usize,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl SigningKeys {
    /// The keys of a generation; made when first asked for.
    pub(super) fn of_generation(generation: usize) -> Arc<Self> {
        static MADE: Mutex<Vec<Arc<SigningKeys>>> = Mutex::new(Vec::new());
        let mut made = lock(&MADE);
        while made.len() <= generation {
            let next = Self::make(made.len());
            made.push(Arc::new(next));
        }
        Arc::clone(&made[generation])
    }

    fn make(generation: usize) -> Self {
        Self {
            generation,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("RSA-2048 keys can be made"),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("P-256 keys can be made"),
        }
    }

    /// The `kid` under which a key is published.
    pub(super) fn kid(&self, algorithm: SigningAlgorithm) -> String {
        match algorithm {
            SigningAlgorithm::RS256 => format!("rsa-{}", self.generation),
            SigningAlgorithm::ES256 => format!("ec-{}", self.generation),
        }
    }

    /// Both public keys as JWKs (RFC 7517, RFC 7518 §6).
    pub(super) fn jwks(&self) -> [Value; 2] {
        let (modulus, exponent) = rsa_components(self.rsa.public_key().as_ref());
        // Uncompressed point (SEC 1 §2.3.3): 04 ‖ x ‖ y.
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(P256_COORDINATE);
        [
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid(SigningAlgorithm::RS256),
                "n": encode(modulus), "e": encode(exponent),
            }),
            json!({
                "kty": "EC", "use": "sig", "alg": "ES256", "kid": self.kid(SigningAlgorithm::ES256),
                "crv": "P-256", "x": encode(x), "y": encode(y),
            }),
        ]
    }

    /// The signature of a JWS signing input.
    pub(super) fn sign(&self, algorithm: SigningAlgorithm, input: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match algorithm {
            SigningAlgorithm::RS256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature).expect("the key signs");
                signature
            }
            SigningAlgorithm::ES256 => self.ec.sign(&random, input).expect("the key signs").as_ref().to_vec(),
        }
    }
}

/// JWS compact serialisation; `sign` makes the signature of the signing input.
pub(super) fn jws(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", encode(&signature))
}

/// The signature of HS256 (RFC 7518 §3.2), which no honest provider uses here.
pub(super) fn hs256(secret: &str, input: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input).as_ref().to_vec()
}

/// `at_hash` (OIDC Core §3.1.3.6): the left half of the token's SHA-256, for algorithms that end in 256.
pub(super) fn at_hash(access_token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, access_token.as_bytes());
    encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

/// `code_challenge` of a verifier by the method S256 (RFC 7636 §4.2).
pub(super) fn s256(verifier: &str) -> String {
    encode(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref())
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of a DER `RSAPublicKey` (RFC 8017 §A.1.1) of 2048 bits, big-endian without leading zero.
fn rsa_components(der: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE (4 bytes of tag and length), INTEGER n (4 bytes of tag and length, a zero because the top bit is set), INTEGER e.
    let modulus = &der[9..9 + RSA_MODULUS];
    let exponent = &der[9 + RSA_MODULUS + 2..];
    (modulus, exponent)
}

const P256_COORDINATE: usize = 32;
const RSA_MODULUS: usize = 256;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

    use super::*;

    #[test]
    fn the_published_rsa_key_verifies_what_was_signed() {
        let keys = SigningKeys::of_generation(0);
        let [rsa, _] = keys.jwks();
        let part = |name: &str| URL_SAFE_NO_PAD.decode(rsa[name].as_str().unwrap()).unwrap();
        let public = RsaPublicKeyComponents { n: part("n"), e: part("e") };
        let signature = keys.sign(SigningAlgorithm::RS256, b"coat");
        public.verify(&RSA_PKCS1_2048_8192_SHA256, b"coat", &signature).unwrap();
    }

    #[test]
    fn the_example_of_rfc_7636_appendix_b_holds() {
        assert_eq!(s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
