//! Everything a logout token must be, in one function: OIDC Back-Channel Logout 1.0 §2.6 step by step.

use serde_json::{Map, Value};

use super::error::LogoutTokenReason as Reason;
use super::id_token::{audiences, text, time};
use super::options::ProviderOptions;
use crate::clock::Timestamp;

/// A logout token that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) whom: LoggedOut,
    /// When the provider made it.
    pub(crate) issued_at: Timestamp,
}

/// Whom the provider has logged out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoggedOut {
    /// One session at the provider, and whose it is if that was said.
    Session { sid: String, subject: Option<String> },
    /// A person, everywhere (§2.4: without `sid` all sessions are meant).
    Subject(String),
}

/// Checks the claims of a logout token whose signature is verified, by the steps of §2.6.
///
/// (1) does not apply, we register for no encryption. (2) and (3), signature and algorithm, are `Provider::verify`, which does the same
/// for ID tokens and knows no `none`. (8), no `jti` twice, is optional and left out: a token that comes again ends nothing that is younger
/// than it. (9) to (11) compare with sessions: terms are bound to issuer and client, and the search for them needs `sub` and `sid`
/// to agree.
pub(super) fn check(
    claims: &Map<String, Value>,
    provider: &ProviderOptions,
    client_id: &str,
    now: Timestamp,
) -> Result<LogoutToken, Reason> {
    let issued_at = check_registered(claims, provider, client_id, now)?;
    // (5) sub, sid or both.
    let whom = match (name(claims, "sid")?, name(claims, "sub")?) {
        (Some(sid), subject) => LoggedOut::Session { sid, subject },
        (None, Some(subject)) => LoggedOut::Subject(subject),
        (None, None) => return Err(Reason::Nobody),
    };
    // (6) the event, with a JSON object as its value (§2.4).
    if !claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(Reason::NoEvent);
    }
    // (7) no nonce, so that no ID token passes for one.
    if claims.contains_key("nonce") {
        return Err(Reason::Nonce);
    }
    Ok(LogoutToken { whom, issued_at })
}

/// (4) iss, aud, iat and exp as in an ID token; answers `iat`.
fn check_registered(
    claims: &Map<String, Value>,
    provider: &ProviderOptions,
    client_id: &str,
    now: Timestamp,
) -> Result<Timestamp, Reason> {
    let skew = provider.clock_skew;
    if text(claims, "iss") != Some(&provider.issuer) {
        return Err(Reason::Issuer);
    }
    let audiences = audiences(claims);
    let trusted = |audience: &&str| {
        *audience == client_id || provider.trusted_audiences.iter().any(|trusted| trusted == audience)
    };
    if !audiences.contains(&client_id) || !audiences.iter().all(trusted) {
        return Err(Reason::Audience);
    }
    let issued_at = time(claims, "iat").ok_or(Reason::NoIssuedAt)?;
    if issued_at > now + skew {
        return Err(Reason::IssuedInTheFuture);
    }
    if now >= time(claims, "exp").ok_or(Reason::NoExpiry)? + skew {
        return Err(Reason::Expired);
    }
    // RFC 7519 §4.1.5; the specification of logout says nothing of it.
    if time(claims, "nbf").is_some_and(|not_before| not_before > now + skew) {
        return Err(Reason::NotYetValid);
    }
    Ok(issued_at)
}

/// A name that may be missing, but is a name if it is there: half a logout token is none.
fn name(claims: &Map<String, Value>, claim: &str) -> Result<Option<String>, Reason> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(name)) if !name.is_empty() => Ok(Some(name.clone())),
        Some(_) => Err(Reason::NotAName),
    }
}

/// Whether a `typ` header allows a JWT to be a logout token (§2.4; RFC 8725 §3.11). It may be missing, and older providers say `JWT`:
/// then `events` alone tells it from an ID token.
pub(super) fn is_type_acceptable(typ: Option<&str>) -> bool {
    let typ = typ.unwrap_or("JWT").to_ascii_lowercase();
    ["logout+jwt", "jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn token() -> Value {
        json!({
            "iss": "https://id.example", "aud": "shop", "iat": NOW, "exp": NOW + 120, "jti": "1",
            "sub": "alice", "sid": "s1", "events": { EVENT: {} },
        })
    }

    fn checked(claims: &Value) -> Result<LogoutToken, Reason> {
        let mut provider = ProviderOptions::new("default", "https://id.example");
        provider.trusted_audiences = vec!["partner".to_owned()];
        check(claims.as_object().unwrap(), &provider, "shop", Timestamp::from_unix_seconds(NOW))
    }

    #[test]
    fn a_logout_token_names_a_subject_or_a_session_or_both() {
        let (alice, sid) = ("alice".to_owned(), "s1".to_owned());
        for (missing, whom) in [
            ("neither", LoggedOut::Session { sid: sid.clone(), subject: Some(alice.clone()) }),
            ("sub", LoggedOut::Session { sid, subject: None }),
            ("sid", LoggedOut::Subject(alice)),
        ] {
            let mut claims = token();
            claims.as_object_mut().unwrap().remove(missing);
            let issued_at = Timestamp::from_unix_seconds(NOW);
            assert_eq!(checked(&claims), Ok(LogoutToken { whom, issued_at }));
        }
    }

    #[test]
    fn each_rule_refuses_what_breaks_it() {
        let cases = [
            ("iss", json!("https://evil.example"), Reason::Issuer),
            ("iss", Value::Null, Reason::Issuer),
            ("aud", json!("other"), Reason::Audience),
            ("aud", json!(["shop", "other"]), Reason::Audience),
            ("aud", Value::Null, Reason::Audience),
            ("iat", json!(NOW + 61), Reason::IssuedInTheFuture),
            ("iat", Value::Null, Reason::NoIssuedAt),
            ("exp", json!(NOW - 60), Reason::Expired),
            ("exp", Value::Null, Reason::NoExpiry),
            ("nbf", json!(NOW + 61), Reason::NotYetValid),
            ("sub", json!(""), Reason::NotAName),
            ("sid", json!(7), Reason::NotAName),
            ("events", Value::Null, Reason::NoEvent),
            ("events", json!({ EVENT: null }), Reason::NoEvent),
            ("events", json!({ "http://schemas.openid.net/event/other": {} }), Reason::NoEvent),
            ("events", json!([EVENT]), Reason::NoEvent),
            ("nonce", json!("n"), Reason::Nonce),
            ("nonce", Value::Null, Reason::Nonce),
        ];
        for (claim, value, reason) in cases {
            let mut claims = token();
            claims[claim] = value.clone();
            if value.is_null() && claim != "nonce" {
                claims.as_object_mut().unwrap().remove(claim);
            }
            assert_eq!(checked(&claims), Err(reason), "{claim} = {value}");
        }
    }

    #[test]
    fn nobody_is_no_name_at_all() {
        let mut claims = token();
        for name in ["sub", "sid"] {
            claims.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(checked(&claims), Err(Reason::Nobody));
    }

    #[test]
    fn clocks_may_be_a_minute_apart_and_a_partner_may_be_told_too() {
        let mut claims = token();
        claims["iat"] = json!(NOW + 60);
        claims["exp"] = json!(NOW - 59);
        claims["aud"] = json!(["partner", "shop"]);
        assert!(checked(&claims).is_ok());
    }

    #[test]
    fn another_type_of_token_is_told_by_its_header() {
        for fine in [None, Some("logout+jwt"), Some("application/logout+jwt"), Some("LOGOUT+JWT"), Some("JWT")] {
            assert!(is_type_acceptable(fine), "{fine:?}");
        }
        for other in ["at+jwt", "dpop+jwt", "id+jwt", "", "logout"] {
            assert!(!is_type_acceptable(Some(other)), "{other}");
        }
    }
}
