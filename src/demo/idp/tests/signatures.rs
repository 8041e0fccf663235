//! What is signed verifies with what is published, unless a fault says otherwise.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::world::{AFTER_LOGOUT, REDIRECT, SECRET, World, claims};
use super::*;

async fn with(id_token_alg: SigningAlgorithm) -> World {
    let world = World::new().await;
    let url = |text| Url::parse(text).unwrap();
    let client = DevClient::new("shop", SECRET, &url(REDIRECT), &url(AFTER_LOGOUT));
    world.provider.register(DevClient { id_token_alg, ..client });
    world
}

/// Whether a JWS verifies with the published key of its `kid`.
async fn verifies(world: &World, jws: &str) -> bool {
    let (input, signature) = jws.rsplit_once('.').unwrap();
    let header: Value = serde_json::from_slice(&decode(input.split('.').next().unwrap())).unwrap();
    let published = world.get("/jwks", "").await.json();
    let Some(key) = published["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]) else {
        return false;
    };
    assert_eq!(key["alg"], header["alg"]);
    let part = |name: &str| decode(key[name].as_str().unwrap());
    let (input, signature) = (input.as_bytes(), decode(signature));
    if header["alg"] == "RS256" {
        let key = RsaPublicKeyComponents { n: part("n"), e: part("e") };
        return key.verify(&RSA_PKCS1_2048_8192_SHA256, input, &signature).is_ok();
    }
    let point = [vec![4], part("x"), part("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input, &signature).is_ok()
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn id_tokens_verify_unless_a_bit_is_flipped() {
    for algorithm in [SigningAlgorithm::RS256, SigningAlgorithm::ES256] {
        let world = with(algorithm).await;
        let honest = world.tokens().await;
        assert!(verifies(&world, honest["id_token"].as_str().unwrap()).await, "{algorithm:?}");
        world.provider.faults().set(Fault::IdTokenBadSignature);
        let flipped = world.tokens().await;
        assert!(!verifies(&world, flipped["id_token"].as_str().unwrap()).await, "{algorithm:?}");
    }
}

#[tokio::test]
async fn keys_rotated_during_a_login_sign_it() {
    let world = with(SigningAlgorithm::ES256).await;
    let before = world.get("/jwks", "").await.json();
    world.provider.faults().set(Fault::KeysRotateDuringLogin);
    let tokens = world.tokens().await;
    assert_ne!(world.get("/jwks", "").await.json(), before);
    assert!(verifies(&world, tokens["id_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn signed_userinfo_verifies_unless_a_stranger_signed_it() {
    let world = with(SigningAlgorithm::ES256).await;
    let tokens = world.tokens().await;
    world.provider.faults().set(Fault::UserinfoSigned);
    let jwt = world.userinfo(&tokens["access_token"]).await.body;
    assert!(verifies(&world, &jwt).await);
    assert_eq!(claims(&jwt.into())["sub"], USERS[0].subject);
    world.provider.faults().set(Fault::UserinfoSignedByStranger);
    assert!(!verifies(&world, &world.userinfo(&tokens["access_token"]).await.body).await);
}

#[tokio::test]
async fn each_claim_fault_changes_its_claim_only() {
    let world = World::new().await;
    let honest = claims(&world.tokens().await["id_token"]);
    for (fault, changed) in [
        (Fault::IdTokenWrongIssuer, &["iss"][..]),
        (Fault::IdTokenWithoutIssuer, &["iss"]),
        (Fault::IdTokenWrongAudience, &["aud"]),
        (Fault::IdTokenWithoutAudience, &["aud"]),
        (Fault::IdTokenExtraAudience, &["aud"]),
        (Fault::IdTokenExtraAudienceAzpOurs, &["aud", "azp"]),
        (Fault::IdTokenExtraAudienceAzpOther, &["aud", "azp"]),
        (Fault::IdTokenAzpOther, &["azp"]),
        (Fault::IdTokenWithoutSubject, &["sub"]),
        (Fault::IdTokenWithoutIssuedAt, &["iat"]),
        (Fault::IdTokenWithoutExpiry, &["exp"]),
        (Fault::IdTokenExpired, &["exp", "iat"]),
        (Fault::IdTokenFromTheFuture, &["exp", "iat"]),
        (Fault::IdTokenWrongNonce, &["nonce"]),
        (Fault::IdTokenWithoutNonce, &["nonce"]),
        (Fault::IdTokenWrongAtHash, &["at_hash"]),
        (Fault::IdTokenWithoutAtHash, &["at_hash"]),
        (Fault::IdTokenOldAuthTime, &["auth_time"]),
        (Fault::IdTokenWithoutAuthTime, &["auth_time"]),
        (Fault::IdTokenWrongAcr, &["acr"]),
        (Fault::IdTokenWithoutAcr, &["acr"]),
        (Fault::IdTokenWithoutSid, &["sid"]),
    ] {
        world.provider.faults().clear_all();
        world.provider.faults().set(fault);
        let wrong = claims(&world.tokens().await["id_token"]);
        // These two belong to the login, so they differ anyway; only their absence counts.
        let differs = |name: &str| match name {
            "sid" | "at_hash" if !changed.contains(&name) => wrong.get(name).is_none(),
            _ => wrong.get(name) != honest.get(name),
        };
        let names = ["acr", "at_hash", "aud", "auth_time", "azp", "exp", "iat", "iss", "nonce", "sid", "sub"];
        let found: Vec<_> = names.into_iter().filter(|name| differs(name)).collect();
        assert_eq!(found, changed, "{fault:?}");
    }
}
