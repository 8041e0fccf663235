//! One case per rule; the rules are numbered in `id_token.rs`.

use std::time::Duration;

use serde_json::json;

use super::*;

const NOW: i64 = 1_700_000_000;

fn options() -> ProviderOptions {
    ProviderOptions::new("p", "https://id.example")
}

fn good() -> Map<String, Value> {
    let Value::Object(claims) = json!({
        "iss": "https://id.example", "sub": "alice", "aud": "shop", "exp": NOW + 300, "iat": NOW, "nonce": "n",
    }) else {
        unreachable!("an object was written")
    };
    claims
}

fn check_with(
    change: impl FnOnce(&mut Map<String, Value>),
    adjust: impl FnOnce(&mut Expected<'_>),
) -> Result<IdToken, Reason> {
    let options = options();
    let mut claims = good();
    change(&mut claims);
    let mut expected = Expected {
        provider: &options,
        client_id: "shop",
        now: Timestamp::from_unix_seconds(NOW),
        nonce: Nonce::Exactly("n"),
        access_token: "token",
        demand: Demand::default(),
        authenticated_after: None,
        subject: None,
    };
    adjust(&mut expected);
    verify(claims, &expected)
}

fn check(change: impl FnOnce(&mut Map<String, Value>)) -> Option<Reason> {
    check_with(change, |_| {}).err()
}

fn set(name: &'static str, value: Value) -> impl FnOnce(&mut Map<String, Value>) {
    move |claims| {
        claims.insert(name.to_owned(), value);
    }
}

fn without(name: &'static str) -> impl FnOnce(&mut Map<String, Value>) {
    move |claims| {
        claims.remove(name);
    }
}

#[test]
fn a_good_token_is_believed() {
    assert_eq!(check(|_| {}), None);
}

#[test]
fn each_rule_has_its_reason() {
    assert_eq!(check(set("iss", json!("https://id.example/"))), Some(Reason::Issuer));
    assert_eq!(check(without("iss")), Some(Reason::Issuer));
    assert_eq!(check(set("aud", json!("other"))), Some(Reason::Audience));
    assert_eq!(check(without("aud")), Some(Reason::Audience));
    assert_eq!(check(set("aud", json!(["shop", "other"]))), Some(Reason::UntrustedAudience));
    assert_eq!(check(set("aud", json!(["shop", 7]))), Some(Reason::UntrustedAudience));
    assert_eq!(check(set("azp", json!("other"))), Some(Reason::AuthorizedParty));
    assert_eq!(check(set("azp", json!("shop"))), None);
    assert_eq!(check(without("sub")), Some(Reason::NoSubject));
    assert_eq!(check(set("sub", json!(""))), Some(Reason::NoSubject));
    assert_eq!(check(without("exp")), Some(Reason::NoExpiry));
    assert_eq!(check(set("exp", json!(NOW - 60))), Some(Reason::Expired));
    assert_eq!(check(without("iat")), Some(Reason::NoIssuedAt));
    assert_eq!(check(set("iat", json!(NOW + 61))), Some(Reason::IssuedInTheFuture));
    assert_eq!(check(set("nbf", json!(NOW + 61))), Some(Reason::NotYetValid));
    assert_eq!(check(without("nonce")), Some(Reason::Nonce));
    assert_eq!(check(set("nonce", json!("m"))), Some(Reason::Nonce));
    assert_eq!(check(set("at_hash", json!("AAAA"))), Some(Reason::AccessTokenHash));
    assert_eq!(check(set("at_hash", json!(7))), Some(Reason::AccessTokenHash));
}

#[test]
fn a_clock_off_by_a_minute_is_forgiven_and_by_more_is_not() {
    assert_eq!(check(set("exp", json!(NOW - 59))), None);
    assert_eq!(check(set("iat", json!(NOW + 60))), None);
}

#[test]
fn a_time_beyond_all_bounds_neither_panics_nor_passes() {
    assert_eq!(check(set("exp", json!(1e300))), None);
    assert_eq!(check(set("exp", json!(-1e300))), Some(Reason::Expired));
    assert_eq!(check(set("iat", json!(1e300))), Some(Reason::IssuedInTheFuture));
    assert_eq!(check(set("exp", json!("soon"))), Some(Reason::NoExpiry));
}

#[test]
fn several_trusted_audiences_need_an_azp() {
    let mut options = options();
    options.trusted_audiences = vec!["api".to_owned()];
    let both = |claims: &mut Map<String, Value>| {
        claims.insert("aud".to_owned(), json!(["shop", "api"]));
    };
    let result = |azp: Option<&str>| {
        let mut claims = good();
        both(&mut claims);
        azp.map(|azp| claims.insert("azp".to_owned(), json!(azp)));
        let expected = Expected {
            provider: &options,
            client_id: "shop",
            now: Timestamp::from_unix_seconds(NOW),
            nonce: Nonce::Exactly("n"),
            access_token: "token",
            demand: Demand::default(),
            authenticated_after: None,
            subject: None,
        };
        verify(claims, &expected).err()
    };
    assert_eq!(result(None), Some(Reason::AuthorizedParty));
    assert_eq!(result(Some("api")), Some(Reason::AuthorizedParty));
    assert_eq!(result(Some("shop")), None);
}

#[test]
fn at_hash_is_the_left_half_of_the_hash() {
    // OIDC Core, appendix A.3.
    let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    assert_eq!(access_token_hash(Algorithm::RS256, token), "77QmUPtjPfzWtF2AnpK9RQ");
}

#[test]
fn max_age_asks_for_a_recent_auth_time() {
    let max_age = |expected: &mut Expected<'_>| expected.demand.max_age = Some(Duration::from_mins(5));
    assert_eq!(check_with(|_| {}, max_age).err(), Some(Reason::NoAuthTime));
    assert_eq!(check_with(set("auth_time", json!(NOW - 361)), max_age).err(), Some(Reason::AuthTime));
    assert_eq!(check_with(set("auth_time", json!(NOW - 360)), max_age).err(), None);
}

#[test]
fn a_forced_login_is_not_answered_with_an_old_one() {
    let forced =
        |expected: &mut Expected<'_>| expected.authenticated_after = Some(Timestamp::from_unix_seconds(NOW - 10));
    assert_eq!(check_with(set("auth_time", json!(NOW - 300)), forced).err(), Some(Reason::AuthTime));
    assert_eq!(check_with(set("auth_time", json!(NOW - 5)), forced).err(), None);
}

#[test]
fn acr_is_one_of_those_asked_for() {
    let asked = |expected: &mut Expected<'_>| expected.demand.acr_values = vec!["mfa".to_owned()];
    assert_eq!(check_with(|_| {}, asked).err(), Some(Reason::Acr));
    assert_eq!(check_with(set("acr", json!("pwd")), asked).err(), Some(Reason::Acr));
    assert_eq!(check_with(set("acr", json!("mfa")), asked).err(), None);
}

#[test]
fn a_refreshed_token_speaks_of_the_same_person_and_may_have_no_nonce() {
    let refreshed = |expected: &mut Expected<'_>| {
        expected.subject = Some("alice");
        expected.nonce = Nonce::AbsentOr(Some("n"));
    };
    assert_eq!(check_with(without("nonce"), refreshed).err(), None);
    assert_eq!(check_with(set("nonce", json!("m")), refreshed).err(), Some(Reason::Nonce));
    assert_eq!(check_with(set("sub", json!("bob")), refreshed).err(), Some(Reason::OtherSubject));
    let after_one_without = |expected: &mut Expected<'_>| expected.nonce = Nonce::AbsentOr(None);
    assert_eq!(check_with(set("nonce", json!("n")), after_one_without).err(), None);
}
