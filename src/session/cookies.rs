//! Our cookies: what they are called, how they are set, how they are found.
//!
//! Every one is `Secure; HttpOnly; SameSite=Strict; Path=/`, without `Domain`, under a `__Host-Http-` name. On `http://` with a
//! loopback host the names lose the prefix and gain the port (cookies do not know ports), and the cookies lose `Secure`.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use crate::secret::Secret;

/// The names of one frontend's cookies, and how they are written.
#[derive(Clone, Debug)]
pub(crate) struct CookiePolicy {
    session: String,
    /// How the names of its login attempts start, and of their parked responses.
    slotted: [String; 2],
    /// How the names of every frontend's cookies on this host start.
    own: [String; 1],
    secure: bool,
}

/// A cookie that holds one login under way, or its parked response: `…-login.<slot>`, `…-response.<slot>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slotted {
    /// A login attempt.
    Login,
    /// An authorization response that came by form and waits for the hop.
    Response,
}

/// How long a cookie lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Until the browser is closed.
    Browser,
    /// This long.
    For(Duration),
    /// It is removed.
    Over,
}

impl CookiePolicy {
    /// The policy of a frontend at `url`. `frontend` is named if its host is shared with another frontend.
    pub(crate) fn new(cookie_name: &str, url: &Url, frontend: Option<&str>) -> Self {
        let secure = url.scheme() == "https";
        let mut session = match (secure, url.port_or_known_default()) {
            (false, Some(port)) => format!("{cookie_name}-{port}"),
            _ => format!("{PREFIX}{cookie_name}"),
        };
        let own = [session.clone()];
        if let Some(frontend) = frontend {
            let _ = write!(session, "-{frontend}");
        }
        let slotted = [format!("{session}-login."), format!("{session}-response.")];
        Self { session, slotted, own, secure }
    }

    /// How the names of our cookies start, of every frontend on this host. None of them ever goes upstream.
    pub(crate) fn own_prefixes(&self) -> &[String] {
        &self.own
    }

    /// The session cookie's name.
    pub(crate) fn session_name(&self) -> &str {
        &self.session
    }

    /// The name of a cookie in a slot.
    pub(crate) fn slotted_name(&self, kind: Slotted, slot: u8) -> String {
        format!("{}{slot}", self.slotted_prefix(kind))
    }

    /// A `Set-Cookie` value.
    ///
    /// # Panics
    /// Never: names and values are ours and plain ASCII.
    pub(crate) fn set(&self, name: &str, value: &Secret<String>, life: Life) -> HeaderValue {
        let mut cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict", value.expose());
        if self.secure {
            cookie.push_str("; Secure");
        }
        match life {
            Life::Browser => {}
            Life::For(life) => {
                let _ = write!(cookie, "; Max-Age={}", life.as_secs());
            }
            Life::Over => cookie.push_str("; Max-Age=0"),
        }
        let mut value = HeaderValue::try_from(cookie).expect("names and values are base64url, digits and dots");
        value.set_sensitive(true);
        value
    }

    /// A `Set-Cookie` value that removes a cookie, with the attributes browsers ask for.
    pub(crate) fn remove(&self, name: &str) -> HeaderValue {
        self.set(name, &Secret::from(""), Life::Over)
    }

    /// The session cookie's value, if there is one.
    pub(crate) fn session<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        all(headers).find(|(name, _)| *name == self.session).map(|(_, value)| value)
    }

    /// The cookies of one kind, with their slots.
    pub(crate) fn slotted<'h>(
        &self,
        kind: Slotted,
        headers: &'h HeaderMap,
    ) -> impl Iterator<Item = (u8, &'h str)> + use<'_, 'h> {
        let prefix = self.slotted_prefix(kind);
        all(headers).filter_map(move |(name, value)| {
            let slot: u8 = name.strip_prefix(prefix)?.parse().ok()?;
            (slot < SLOTS).then_some((slot, value))
        })
    }

    fn slotted_prefix(&self, kind: Slotted) -> &str {
        let [login, response] = &self.slotted;
        match kind {
            Slotted::Login => login,
            Slotted::Response => response,
        }
    }
}

/// All cookies of a request, in order (RFC 6265 §5.4; HTTP/2 may split them over several headers). Read as bytes: another cookie of the
/// host, which a sibling domain may have set, can hold anything, and must not hide ours. Only ASCII blanks are cut off: browsers guard
/// the prefix of a name, not of one with a no-break space before it.
fn all(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
}

/// How many logins may be under way in one browser.
pub(crate) const SLOTS: u8 = 20;

/// `httpbis` layered cookies: a browser that knows the prefix takes such a cookie from HTTP alone, never from a script; an older
/// one takes `__Host-` and ignores the rest of the name.
const PREFIX: &str = "__Host-Http-";

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(url: &str) -> CookiePolicy {
        CookiePolicy::new("cloakroom", &Url::parse(url).expect("a URL"), None)
    }

    fn cookie(policy: &CookiePolicy, life: Life) -> String {
        let value = policy.set(policy.session_name(), &Secret::from("v"), life);
        value.to_str().expect("ASCII").to_owned()
    }

    #[test]
    fn a_cookie_has_every_attribute_over_https() {
        let policy = policy("https://shop.example/");
        assert_eq!(
            cookie(&policy, Life::Browser),
            "__Host-Http-cloakroom=v; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        let removal = policy.remove(policy.session_name());
        assert_eq!(removal, "__Host-Http-cloakroom=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0");
    }

    #[test]
    fn on_loopback_the_name_carries_the_port() {
        let policy = policy("http://localhost:8080/");
        let hour = Duration::from_hours(1);
        assert_eq!(
            cookie(&policy, Life::For(hour)),
            "cloakroom-8080=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=3600"
        );
        assert_eq!(policy.slotted_name(Slotted::Login, 7), "cloakroom-8080-login.7");
    }

    #[test]
    fn cookies_are_found_among_others_and_over_several_headers() {
        let policy = policy("http://localhost:8080/");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; cloakroom-8080-login.3=x;cloakroom-80800=no"));
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("cloakroom-8080=id; cloakroom-8080-login.20=no; cloakroom-8080-response.3=r"),
        );
        assert_eq!(policy.session(&headers), Some("id"));
        assert_eq!(policy.slotted(Slotted::Login, &headers).collect::<Vec<_>>(), [(3, "x")]);
        assert_eq!(policy.slotted(Slotted::Response, &headers).collect::<Vec<_>>(), [(3, "r")]);
    }

    #[test]
    fn frontends_on_one_host_have_cookies_of_their_own() {
        let url = Url::parse("https://host.example/shop/").expect("a URL");
        assert_eq!(CookiePolicy::new("cloakroom", &url, Some("shop")).session_name(), "__Host-Http-cloakroom-shop");
    }
}
