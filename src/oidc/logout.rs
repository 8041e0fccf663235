//! Everything a logout token must be, in one function: OIDC Back-Channel Logout 1.0 §2.6 step by step.

use serde_json::{Map, Value};

use super::error::LogoutTokenReason as Reason;
use super::id_token::{audiences, text, time};
use super::options::ProviderOptions;
use crate::clock::Timestamp;

/// A logout token that was believed: whom the provider has logged out. At least one of the two names is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogoutToken {
    pub(crate) subject: Option<String>,
    /// The provider's session.
    pub(crate) sid: Option<String>,
    pub(crate) issued_at: Timestamp,
}

/// Checks the claims of a logout token whose signature is verified: steps 2 and 3 are `Provider::verify`, with the algorithm that is
/// pinned for ID tokens, and step 1 does not apply, we register for no encryption.
///
/// Step 8 (no `jti` twice) is left out: ending sessions again ends nothing younger than the token. Steps 9 to 11 compare with sessions;
/// the search for them does that.
pub(super) fn check(
    claims: &Map<String, Value>,
    provider: &ProviderOptions,
    client_id: &str,
    now: Timestamp,
) -> Result<LogoutToken, Reason> {
    let skew = provider.clock_skew;
    // (4) iss, aud, iat and exp as in an ID token.
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
    // (5) sub, sid or both. One that is there must be a name.
    let name = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(name)) if !name.is_empty() => Ok(Some(name.clone())),
        Some(_) => Err(Reason::Nobody),
    };
    let (subject, sid) = (name("sub")?, name("sid")?);
    if subject.is_none() && sid.is_none() {
        return Err(Reason::Nobody);
    }
    // (6) the event, with a JSON object as its value (§2.4).
    if !claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object) {
        return Err(Reason::NoEvent);
    }
    // (7) no nonce, so that no ID token passes for one.
    if claims.contains_key("nonce") {
        return Err(Reason::Nonce);
    }
    Ok(LogoutToken { subject, sid, issued_at })
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
        let both = checked(&token()).unwrap();
        assert_eq!((both.subject.as_deref(), both.sid.as_deref()), (Some("alice"), Some("s1")));
        assert_eq!(both.issued_at, Timestamp::from_unix_seconds(NOW));
        for (missing, subject, sid) in [("sub", None, Some("s1")), ("sid", Some("alice"), None)] {
            let mut claims = token();
            claims.as_object_mut().unwrap().remove(missing);
            let one = checked(&claims).unwrap();
            assert_eq!((one.subject.as_deref(), one.sid.as_deref()), (subject, sid));
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
            ("sub", json!(""), Reason::Nobody),
            ("sid", json!(7), Reason::Nobody),
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
