//! The part of `[frontends.NAME]` that is our registration at the provider.

use url::Url;

use super::raw;
use super::reader::Section;
use super::values::shown;
use crate::oidc::{ClientAuth, ClientOptions, ResponseMode};
use crate::secret::Secret;

pub(super) fn read(raw: &raw::Frontend, at: &Section<'_>, url: &Url, base_path: &str) -> ClientOptions {
    let endpoint = |name: &str| {
        let mut endpoint = url.clone();
        endpoint.set_path(&format!("{base_path}/{name}"));
        endpoint
    };
    let client_id = at.parse("client_id", &raw.client_id, super::provider::not_empty).unwrap_or_default();
    let auth = auth(raw, at);
    let mut options = ClientOptions::new(client_id, auth, endpoint("callback"), endpoint("logged-out"));
    options.scopes = scopes(raw, at).unwrap_or(options.scopes);
    let modes = [("query", ResponseMode::Query), ("form_post", ResponseMode::FormPost)];
    options.response_mode = at.choice("response_mode", &raw.response_mode, &modes).unwrap_or(options.response_mode);
    options.userinfo = at.flag("userinfo", &raw.userinfo, options.userinfo);
    options
}

fn auth(raw: &raw::Frontend, at: &Section<'_>) -> ClientAuth {
    let inner = at.section("client_auth");
    let method = match &raw.client_auth.method.0 {
        None => Some(ClientAuth::SecretBasic as Method),
        Some(_) => inner.parse("method", &raw.client_auth.method, method),
    };
    let public = at.flag("allow_public_client", &raw.allow_public_client, false);
    if let Some(value) = &raw.client_auth.secret.0 {
        let secret = inner.secret(&inner.path.key("secret"), value);
        return secret.zip(method).map_or(ClientAuth::None, |(secret, method)| method(secret));
    }
    if public {
        at.weaken(
            "allow_public_client",
            "a public client: whoever has a code and its verifier gets the tokens; use a secret",
        );
    } else if method.is_some() {
        let message = format!(
            "the client secret is missing; {} (a client that has none says so with allow_public_client = true)",
            inner.remedy("secret")
        );
        inner.complain("secret", message);
    }
    ClientAuth::None
}

/// How a secret is used.
type Method = fn(Secret<String>) -> ClientAuth;

fn method(text: &str) -> Result<Method, String> {
    match text {
        "client_secret_basic" => Ok(ClientAuth::SecretBasic),
        "client_secret_post" => Ok(ClientAuth::SecretPost),
        "private_key_jwt" | "tls_client_auth" => Err(format!("\"{text}\" is not supported by this version yet")),
        "none" => Err("leave client_auth out and write allow_public_client = true".to_owned()),
        _ => Err(format!("{} is not known; write \"client_secret_basic\" or \"client_secret_post\"", shown(text))),
    }
}

fn scopes(raw: &raw::Frontend, at: &Section<'_>) -> Option<Vec<String>> {
    let scopes = at.list("scopes", &raw.scopes, scope)?;
    if !scopes.iter().any(|scope| scope == "openid") {
        at.complain("scopes", "\"openid\" is not among them; without it there is no ID token and no login");
    }
    Some(scopes)
}

/// `scope-token` (RFC 6749 §3.3).
fn scope(text: &str) -> Result<String, String> {
    let token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if token { Ok(text.to_owned()) } else { Err(format!("{} is not a scope", shown(text))) }
}
