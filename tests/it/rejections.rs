//! What a relying party has to notice: a line for each way in which a provider can misbehave.
//!
//! Each line is a login that is refused. It says what the OpenID Foundation's conformance suite calls the same thing (`-` where it has
//! nothing), the switches of the development provider, the exact reason, and the calls that were made until then, of which there
//! is none after. `check` holds what is true for all of them.

use cloakroom::demo::faults::Fault::{self, *};
use cloakroom::demo::faults::{Endpoint, Outage};
use cloakroom::demo::idp::SigningAlgorithm;
use cloakroom::oidc::{IdTokenReason, KeysReason, ResponseReason, TokenResponseReason, UserInfoReason};
use http::StatusCode;

use self::Refusal::*;
use crate::support::TestApp;

/// Why a login is refused.
enum Refusal {
    Response(ResponseReason),
    UnknownState,
    Provider(&'static str),
    TokenEndpoint(&'static str),
    TokenResponse(TokenResponseReason),
    IdToken(IdTokenReason),
    UserInfo(UserInfoReason),
    Keys(KeysReason),
    Down(&'static str),
}

impl Refusal {
    /// What the page says: status, slug.
    fn told(&self) -> (u16, &'static str) {
        match self {
            Response(_) => (400, "login-response-invalid"),
            UnknownState => (400, "login-expired"),
            Provider(_) | IdToken(IdTokenReason::Acr) => (403, "login-refused"),
            TokenEndpoint(_) | TokenResponse(_) | IdToken(_) | UserInfo(_) => (502, "provider-misbehaved"),
            Keys(_) | Down(_) => (503, "provider-unavailable"),
        }
    }

    /// What the log says.
    fn cause(&self) -> String {
        match self {
            Response(reason) => format!("the authorization response is refused: {reason}"),
            UnknownState => "the login attempt is unknown, used or old".to_owned(),
            Provider(code) => format!("the provider refused the login: {code}"),
            TokenEndpoint(code) => format!("the provider misbehaved: the token endpoint refused: {code}"),
            TokenResponse(reason) => format!("the provider misbehaved: the token response is not acceptable: {reason}"),
            IdToken(reason @ IdTokenReason::Acr) => {
                format!("the login is weaker than was asked for: the ID token is not acceptable: {reason}")
            }
            IdToken(reason) => format!("the provider misbehaved: the ID token is not acceptable: {reason}"),
            UserInfo(reason) => format!("the provider misbehaved: the UserInfo response is not acceptable: {reason}"),
            Keys(reason) => format!("the provider is unavailable: the provider's keys are not acceptable: {reason}"),
            Down(cause) => format!("the provider is unavailable: {cause}"),
        }
    }

    /// Whether the genuine answer may still come.
    fn leaves_the_attempt(&self) -> bool {
        matches!(self, Response(_) | UnknownState | Keys(_))
    }
}

/// A login in a world of its own.
struct Login {
    faults: Vec<Fault>,
    variables: Vec<(&'static str, &'static str)>,
    algorithm: SigningAlgorithm,
    query: &'static str,
}

fn by(fault: Fault) -> Login {
    Login { faults: vec![fault], variables: Vec::new(), algorithm: SigningAlgorithm::RS256, query: "" }
}

fn failing(endpoint: Endpoint, outage: Outage) -> Login {
    by(Fault::Endpoint(endpoint, outage))
}

impl Login {
    fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn by_form(self) -> Self {
        self.with("CLOAKROOM_RESPONSE_MODE", "form_post")
    }

    fn es256(mut self) -> Self {
        self.algorithm = SigningAlgorithm::ES256;
        self.with("CLOAKROOM_ID_TOKEN_ALG", "ES256")
    }

    fn trusting(self, audience: &'static str) -> Self {
        self.with("CLOAKROOM__PROVIDERS__DEFAULT__TRUSTED_AUDIENCES", audience)
    }

    /// Further parameters of the login link.
    fn asking(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    async fn app(&self) -> TestApp {
        let algorithm = self.algorithm;
        let setup = TestApp::with().client(move |client| client.id_token_alg = algorithm);
        let app = self.variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value)).start().await;
        for fault in &self.faults {
            app.misbehave(*fault);
        }
        app
    }

    fn link(&self) -> String {
        format!("/bff/login?return_to=/cart&{}", self.query)
    }
}

/// One page, the exact reason, nothing opened, and silence after it.
async fn check(login: Login, refusal: Refusal, calls: &[&str]) {
    let app = login.app().await;
    let mut browser = app.browser();
    let page = browser.click(&login.link()).await;
    let page = browser.sign_in(&page, "alice").await;
    assert_eq!((page.status.as_u16(), page.page_slug().as_str()), refusal.told());
    assert_eq!(page.cause(), refusal.cause());
    assert_eq!(app.calls_behind()[1..], *calls, "after {DISCOVERY}");
    assert_eq!(app.sessions().await, 0);
    assert!(browser.session().is_none());
    assert!(!browser.is_logged_in().await);
    let attempts = browser.cookies.names("localhost").iter().filter(|name| name.contains("-login.")).count();
    assert_eq!(attempts == 1, refusal.leaves_the_attempt());
    assert_eq!(app.calls_behind().len(), calls.len() + 1);
}

macro_rules! refused {
    ($($test:ident: $module:literal, $login:expr => $refusal:expr, $calls:expr;)*) => {
        $(#[doc = $module] #[tokio::test] async fn $test() { check($login, $refusal, $calls).await; })*
    };
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const NONE: &[&str] = &[];
const KEYS: &[&str] = &["/jwks"];
const TOKEN: &[&str] = &["/jwks", "/token"];
const KEYS_AGAIN: &[&str] = &["/jwks", "/token", "/jwks"];
const USERINFO: &[&str] = &["/jwks", "/token", "/userinfo"];

/// The authorization response: judged before any call leaves.
mod response {
    use super::*;
    use cloakroom::oidc::ResponseReason as Reason;

    refused! {
        another_issuer: "fapi2-security-profile-final-client-test-invalid-authorization-response-iss", by(ResponseWrongIssuer) => Response(Reason::Issuer), NONE;
        no_issuer_though_promised: "fapi2-security-profile-final-client-test-remove-authorization-response-iss", by(ResponseWithoutIssuer) => Response(Reason::NoIssuer), NONE;
        issuer_twice: "-", by(ResponseRepeatedIssuer) => Response(Reason::Repeated), NONE;
        state_twice: "-", by(ResponseRepeatedState) => Response(Reason::Repeated), NONE;
        code_twice: "-", by(ResponseRepeatedCode) => Response(Reason::Repeated), NONE;
        another_state: "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-state-fails", by(ResponseWrongState) => UnknownState, NONE;
        no_state: "fapi2-security-profile-final-client-test-ensure-authorization-response-with-invalid-missing-state-fails", by(ResponseWithoutState) => Response(Reason::NoState), NONE;
        no_code: "-", by(ResponseWithoutCode) => Response(Reason::NoCode), NONE;
        an_error: "-", by(AuthorizationError("access_denied")) => Provider("access_denied"), NONE;
        an_error_that_is_no_code: "-", by(AuthorizationError("<script>")) => Provider("invalid_error_code"), NONE;
        an_error_of_another_issuer: "-", by(AuthorizationError("access_denied")).and(ResponseWrongIssuer) => Response(Reason::Issuer), NONE;

        another_issuer_by_form: "-", by(ResponseWrongIssuer).by_form() => Response(Reason::Issuer), NONE;
        no_issuer_though_promised_by_form: "-", by(ResponseWithoutIssuer).by_form() => Response(Reason::NoIssuer), NONE;
        issuer_twice_by_form: "-", by(ResponseRepeatedIssuer).by_form() => Response(Reason::Repeated), NONE;
        code_twice_by_form: "-", by(ResponseRepeatedCode).by_form() => Response(Reason::Repeated), NONE;
        no_state_by_form: "-", by(ResponseWithoutState).by_form() => Response(Reason::NoState), NONE;
        another_state_by_form: "-", by(ResponseWrongState).by_form() => UnknownState, NONE;
        no_code_by_form: "-", by(ResponseWithoutCode).by_form() => Response(Reason::NoCode), NONE;
        an_error_by_form: "oidcc-client-test-formpost-error", by(AuthorizationError("access_denied")).by_form() => Provider("access_denied"), NONE;
    }
}

/// The token endpoint's answer.
mod token_response {
    use super::*;
    use cloakroom::oidc::TokenResponseReason as Reason;

    refused! {
        no_access_token: "-", by(TokenWithoutAccessToken) => TokenResponse(Reason::Unreadable), TOKEN;
        no_id_token: "-", by(TokenWithoutIdToken) => TokenResponse(Reason::NoIdToken), TOKEN;
        unknown_token_type: "-", by(TokenTypeUnknown) => TokenResponse(Reason::TokenType), TOKEN;
        not_json: "-", failing(Endpoint::Token, Outage::Garbage) => TokenResponse(Reason::Unreadable), TOKEN;
        too_large: "-", failing(Endpoint::Token, Outage::TooLarge) => TokenResponse(Reason::TooLarge), TOKEN;
        a_redirect: "-", failing(Endpoint::Token, Outage::Redirect) => TokenResponse(Reason::Unreadable), TOKEN;
        not_found: "-", failing(Endpoint::Token, Outage::NotFound) => TokenResponse(Reason::Unreadable), TOKEN;
        code_refused: "-", by(TokenInvalidGrant) => TokenEndpoint("invalid_grant"), TOKEN;
        client_refused: "-", by(TokenInvalidClient) => TokenEndpoint("invalid_client"), TOKEN;
    }
}

/// The ID token: OIDC Core §3.1.3.7.
mod id_token {
    use super::*;
    use cloakroom::oidc::IdTokenReason as Reason;

    refused! {
        another_issuer: "oidcc-client-test-invalid-iss", by(IdTokenWrongIssuer) => IdToken(Reason::Issuer), TOKEN;
        no_issuer: "fapi2-security-profile-final-client-test-invalid-missing-iss", by(IdTokenWithoutIssuer) => IdToken(Reason::Issuer), TOKEN;
        another_audience: "oidcc-client-test-invalid-aud", by(IdTokenWrongAudience) => IdToken(Reason::Audience), TOKEN;
        no_audience: "oidcc-client-test-missing-aud", by(IdTokenWithoutAudience) => IdToken(Reason::Audience), TOKEN;
        a_further_audience: "-", by(IdTokenExtraAudience) => IdToken(Reason::UntrustedAudience), TOKEN;
        a_further_audience_and_azp_ours: "-", by(IdTokenExtraAudienceAzpOurs) => IdToken(Reason::UntrustedAudience), TOKEN;
        a_trusted_audience_without_azp: "-", by(IdTokenExtraAudience).trusting("another-client") => IdToken(Reason::AuthorizedParty), TOKEN;
        a_trusted_audience_and_azp_theirs: "-", by(IdTokenExtraAudienceAzpOther).trusting("another-client") => IdToken(Reason::AuthorizedParty), TOKEN;
        another_azp: "-", by(IdTokenAzpOther) => IdToken(Reason::AuthorizedParty), TOKEN;
        no_subject: "oidcc-client-test-missing-sub", by(IdTokenWithoutSubject) => IdToken(Reason::NoSubject), TOKEN;
        no_expiry: "fapi2-security-profile-final-client-test-invalid-missing-exp", by(IdTokenWithoutExpiry) => IdToken(Reason::NoExpiry), TOKEN;
        expired: "fapi2-security-profile-final-client-test-invalid-expired-exp", by(IdTokenExpired) => IdToken(Reason::Expired), TOKEN;
        no_issued_at: "oidcc-client-test-missing-iat", by(IdTokenWithoutIssuedAt) => IdToken(Reason::NoIssuedAt), TOKEN;
        from_the_future: "-", by(IdTokenFromTheFuture) => IdToken(Reason::IssuedInTheFuture), TOKEN;
        another_nonce: "oidcc-client-test-nonce-invalid", by(IdTokenWrongNonce) => IdToken(Reason::Nonce), TOKEN;
        no_nonce: "fapi2-security-profile-final-client-test-invalid-missing-nonce", by(IdTokenWithoutNonce) => IdToken(Reason::Nonce), TOKEN;
        another_at_hash: "oidcc-client-test-invalid-athash", by(IdTokenWrongAtHash) => IdToken(Reason::AccessTokenHash), TOKEN;
        another_at_hash_es256: "-", by(IdTokenWrongAtHash).es256() => IdToken(Reason::AccessTokenHash), TOKEN;

        bad_signature_rs256: "oidcc-client-test-invalid-sig-rs256", by(IdTokenBadSignature) => IdToken(Reason::Signature), TOKEN;
        bad_signature_es256: "oidcc-client-test-invalid-sig-es256", by(IdTokenBadSignature).es256() => IdToken(Reason::Signature), TOKEN;
        bad_signature_without_kid: "-", by(IdTokenBadSignature).and(IdTokenWithoutKid) => IdToken(Reason::Signature), KEYS_AGAIN;
        bad_signature_among_several_keys_without_kid: "-", by(IdTokenBadSignature).and(IdTokenWithoutKid).and(JwksFurtherKeys) => IdToken(Reason::Signature), KEYS_AGAIN;
        unsigned: "oidcc-client-test-idtoken-sig-none", by(IdTokenUnsigned) => IdToken(Reason::Algorithm), TOKEN;
        unsigned_where_es256_is_pinned: "-", by(IdTokenUnsigned).es256() => IdToken(Reason::Algorithm), TOKEN;
        signed_with_the_client_secret: "oidcc-client-test-invalid-sig-hs256", by(IdTokenSymmetric) => IdToken(Reason::Algorithm), TOKEN;
        es256_where_rs256_is_pinned: "fapi2-security-profile-final-client-test-invalid-alternate-alg", by(IdTokenOtherAlgorithm) => IdToken(Reason::Algorithm), TOKEN;
        rs256_where_es256_is_pinned: "-", by(IdTokenOtherAlgorithm).es256() => IdToken(Reason::Algorithm), TOKEN;
        unknown_kid: "-", by(IdTokenUnknownKid) => IdToken(Reason::UnknownKey), KEYS_AGAIN;
        keys_rotated_and_not_published: "-", by(KeysRotateDuringLogin).and(JwksStale) => IdToken(Reason::UnknownKey), KEYS_AGAIN;
        keys_rotated_and_not_published_without_kid: "-", by(KeysRotateDuringLogin).and(JwksStale).and(IdTokenWithoutKid) => IdToken(Reason::Signature), KEYS_AGAIN;

        old_authentication: "-", by(IdTokenOldAuthTime).asking("max_age=60") => IdToken(Reason::AuthTime), TOKEN;
        no_auth_time_though_asked: "-", by(IdTokenWithoutAuthTime).asking("max_age=60") => IdToken(Reason::NoAuthTime), TOKEN;
        old_authentication_though_prompted: "-", by(IdTokenOldAuthTime).asking("prompt=login") => IdToken(Reason::AuthTime), TOKEN;
        another_acr: "-", by(IdTokenWrongAcr).asking("acr_values=high") => IdToken(Reason::Acr), TOKEN;
        no_acr_though_asked: "-", by(IdTokenWithoutAcr).asking("acr_values=high") => IdToken(Reason::Acr), TOKEN;
    }
}

/// The keys and the UserInfo answer.
mod keys_and_userinfo {
    use super::*;
    use cloakroom::oidc::UserInfoReason as Reason;

    refused! {
        keys_are_not_json: "-", failing(Endpoint::Jwks, Outage::Garbage) => Keys(KeysReason::Unreadable), KEYS;
        keys_are_not_found: "-", failing(Endpoint::Jwks, Outage::NotFound) => Keys(KeysReason::Status(404)), KEYS;
        keys_are_elsewhere: "-", failing(Endpoint::Jwks, Outage::Redirect) => Keys(KeysReason::Status(307)), KEYS;
        keys_are_too_large: "-", failing(Endpoint::Jwks, Outage::TooLarge) => Keys(KeysReason::TooLarge), KEYS;

        userinfo_of_another_subject: "oidcc-client-test-userinfo-invalid-sub", by(UserinfoOtherSubject) => UserInfo(Reason::Subject), USERINFO;
        userinfo_without_subject: "-", by(UserinfoWithoutSubject) => UserInfo(Reason::Subject), USERINFO;
        userinfo_of_another_subject_signed: "-", by(UserinfoOtherSubject).and(UserinfoSigned) => UserInfo(Reason::Subject), USERINFO;
        userinfo_signed_by_a_stranger: "-", by(UserinfoSignedByStranger) => UserInfo(Reason::Signed(IdTokenReason::Signature)), USERINFO;
        userinfo_signed_by_a_stranger_es256: "-", by(UserinfoSignedByStranger).es256() => UserInfo(Reason::Signed(IdTokenReason::Signature)), USERINFO;
        userinfo_is_not_json: "-", failing(Endpoint::Userinfo, Outage::Garbage) => UserInfo(Reason::Unreadable), USERINFO;
        userinfo_is_not_found: "-", failing(Endpoint::Userinfo, Outage::NotFound) => UserInfo(Reason::Status(404)), USERINFO;
        userinfo_is_elsewhere: "-", failing(Endpoint::Userinfo, Outage::Redirect) => UserInfo(Reason::Status(307)), USERINFO;
        userinfo_is_too_large: "-", failing(Endpoint::Userinfo, Outage::TooLarge) => UserInfo(Reason::TooLarge), USERINFO;
        userinfo_fails: "-", failing(Endpoint::Userinfo, Outage::ServerError) => Down("it answered 500"), USERINFO;
        userinfo_hangs_up: "-", failing(Endpoint::Userinfo, Outage::Closed) => Down("the connection broke"), USERINFO;
    }
}

/// Odd, but right: these log in, with exactly these calls.
async fn accept(login: Login, calls: &[&str]) {
    let app = login.app().await;
    let mut browser = app.browser();
    let page = browser.click(&login.link()).await;
    let page = browser.sign_in(&page, "alice").await;
    assert_eq!(page.url.path(), "/cart", "{}", page.text());
    assert_eq!(browser.user().await["sub"], "248289761001");
    assert_eq!(app.calls_behind()[1..], *calls, "after {DISCOVERY}");
}

macro_rules! accepted {
    ($($test:ident: $module:literal, $login:expr => $calls:expr;)*) => {
        $(#[doc = $module] #[tokio::test] async fn $test() { accept($login, $calls).await; })*
    };
}

mod accepted {
    use super::*;

    const KEYS_AGAIN: &[&str] = &["/jwks", "/token", "/jwks", "/userinfo"];
    const NO_USERINFO: &[&str] = &["/jwks", "/token"];

    accepted! {
        es256: "-", by(TokenWithoutScope).es256() => USERINFO;
        no_kid_and_one_key: "oidcc-client-test-kid-absent-single-jwks", by(IdTokenWithoutKid) => USERINFO;
        no_kid_and_several_keys: "oidcc-client-test-kid-absent-multiple-jwks", by(IdTokenWithoutKid).and(JwksFurtherKeys) => USERINFO;
        no_kid_and_several_keys_es256: "-", by(IdTokenWithoutKid).and(JwksFurtherKeys).es256() => USERINFO;
        no_kid_anywhere: "-", by(IdTokenWithoutKid).and(JwksWithoutKids).and(JwksFurtherKeys) => USERINFO;
        unknown_key_types: "-", by(JwksUnknownKeyTypes) => USERINFO;
        keys_rotate_during_the_login: "oidcc-client-test-signing-key-rotation-just-before-signing", by(KeysRotateDuringLogin) => KEYS_AGAIN;
        keys_rotate_during_the_login_without_kid: "-", by(KeysRotateDuringLogin).and(IdTokenWithoutKid) => KEYS_AGAIN;
        no_at_hash: "-", by(IdTokenWithoutAtHash) => USERINFO;
        no_sid: "-", by(IdTokenWithoutSid) => USERINFO;
        no_auth_time_and_none_asked: "-", by(IdTokenWithoutAuthTime) => USERINFO;
        no_acr_and_none_asked: "-", by(IdTokenWithoutAcr) => USERINFO;
        a_trusted_audience_and_azp_ours: "-", by(IdTokenExtraAudienceAzpOurs).trusting("another-client") => USERINFO;
        userinfo_signed: "oidcc-client-test-userinfo-signed", by(UserinfoSigned) => USERINFO;
        no_userinfo_endpoint: "-", by(DiscoveryWithoutUserinfo) => NO_USERINFO;
        userinfo_not_wanted: "-", by(UserinfoOtherSubject).with("CLOAKROOM_USERINFO", "false") => NO_USERINFO;
        no_issuer_and_none_promised: "-", by(DiscoveryWithoutIssParameter).and(ResponseWithoutIssuer) => USERINFO;
    }
}

/// `oidcc-client-test-discovery-issuer-mismatch`
#[tokio::test]
async fn a_discovery_document_of_another_issuer_stops_every_login_before_it_starts() {
    let app = TestApp::start().await;
    app.misbehave(DiscoveryWrongIssuer);
    let mut browser = app.browser();
    let page = browser.step("/bff/login").await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "provider-unavailable"));
    let (expected, found) = (app.provider.issuer(), "http://127.0.0.1:1");
    let reason = format!("it names issuer {found:?}, configured is {expected:?}");
    assert_eq!(
        page.cause(),
        format!("the provider is unavailable: the discovery document is not acceptable: {reason}")
    );
    assert!(page.header("set-cookie").is_none());
    assert_eq!(app.calls_behind(), [DISCOVERY]);
}

/// `oidcc-client-test-signing-key-rotation`
#[tokio::test]
async fn keys_that_rotate_between_two_logins_are_fetched_once_more() {
    let app = TestApp::start().await;
    app.logged_in("alice").await;
    app.provider.rotate_keys();
    assert!(app.logged_in("bob").await.is_logged_in().await);
    assert_eq!(app.calls("/jwks").len(), 2);
}

#[tokio::test]
async fn invented_key_names_cost_the_provider_one_fetch_in_ten_seconds() {
    let app = TestApp::start().await;
    app.logged_in("alice").await;
    app.misbehave(IdTokenUnknownKid);
    for _ in 0..10 {
        assert_eq!(app.browser().log_in("/", "alice").await.page_slug(), "provider-misbehaved");
    }
    assert_eq!(app.calls("/jwks").len(), 2);
}

#[tokio::test]
async fn a_code_that_was_refused_once_is_not_sent_again() {
    let app = TestApp::start().await;
    app.misbehave(IdTokenWrongNonce);
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copy = browser.tab();
    assert_eq!(browser.click(&callback).await.page_slug(), "provider-misbehaved");
    app.provider.faults().clear_all();
    for browser in [&mut browser, &mut copy] {
        assert_eq!(browser.click(&callback).await.page_slug(), "login-expired");
    }
    assert_eq!(app.grants("authorization_code"), 1);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_forged_response_does_not_spoil_the_genuine_one() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let genuine = browser.callback_url("/cart", "alice").await;
    let state = genuine.split(['?', '&']).find(|pair| pair.starts_with("state=")).unwrap();
    for forged in
        ["code=forged&iss=https://evil.example", "error=access_denied&iss=https://evil.example", "code=forged", ""]
    {
        let page = browser.click_from("https://evil.example", &format!("/bff/callback?{state}&{forged}")).await;
        assert_eq!(page.page_slug(), "login-response-invalid", "{forged}");
    }
    assert_eq!(browser.click(&genuine).await.url.path(), "/cart");
    assert_eq!(app.grants("authorization_code"), 1);
}

#[tokio::test]
async fn a_refused_login_leaves_the_session_that_lives() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let before = browser.session().cloned();
    app.clock.advance(std::time::Duration::from_secs(5));
    app.misbehave(IdTokenWrongNonce);
    assert_eq!(browser.log_in("/", "alice").await.page_slug(), "provider-misbehaved");
    assert_eq!(browser.session().cloned(), before);
    assert!(browser.is_logged_in().await);
}
