//! What was configured, as `check` prints it: for people, complete, without secrets.

use std::fmt;

use http::Method;
use http::uri::Authority;

use super::values::{show_duration, shown};
use super::{Config, Server, Store};
use crate::frontend::{AssetsOptions, Options};
use crate::oidc::{ClientAuth, ResponseMode};
use crate::proxy::{CsrfPolicy, RouteOptions};
use crate::tokens::TokenPolicy;

/// A configuration's summary; made by [`Config::summary`]. Ends with every weakened default.
pub struct Summary<'a>(pub(super) &'a Config);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { server, keys, store, session, frontends, weakened, .. } = self.0;
        let tls = if server.tls.is_some() { "https" } else { "http; TLS, if any, ends in front of it" };
        line(f, "listen", format!("{} ({tls})", server.listen))?;
        line(f, "admin", admin(server))?;
        line(f, "store", sealed(store, keys.len()))?;
        let limits = [session.idle, session.absolute, session.remember_absolute].map(show_duration);
        let [idle, absolute, remember] = limits;
        line(
            f,
            "session",
            format!("ends {idle} after its last use, {absolute} after login; if remembered, {remember} after login"),
        )?;
        for frontend in frontends {
            show_frontend(f, frontend)?;
        }
        if weakened.is_empty() {
            return write!(f, "\nno default is weakened");
        }
        write!(f, "\nweakened on purpose:")?;
        weakened.iter().try_for_each(|what| write!(f, "\n  {what}"))
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:WIDTH$}{value}")
}

fn admin(server: &Server) -> String {
    match (&server.admin_listen, &server.admin_token) {
        (None, _) => "off".to_owned(),
        #[cfg(unix)]
        (Some(listen @ super::AdminListen::Unix(_)), _) => {
            format!("{listen} (sessions are listed and ended by its owner)")
        }
        (Some(listen), Some(_)) => format!("{listen} (sessions are listed and ended with admin_token)"),
        (Some(listen), None) => listen.to_string(),
    }
}

fn sealed(store: &Store, keys: usize) -> String {
    let keys = match keys {
        0 => "a fresh master key".to_owned(),
        1 => "1 master key".to_owned(),
        keys => format!("{keys} master keys"),
    };
    let life = if store.is_memory() { "; sessions end with the process" } else { "" };
    let url = store.url.expose();
    // Files have no password, and the path may be long.
    let url = if url.contains("://") { shown(url).trim_matches('"').to_owned() } else { url.clone() };
    format!("{url}, {keys}{life}")
}

fn show_frontend(f: &mut fmt::Formatter<'_>, frontend: &Options) -> fmt::Result {
    let Options { id, url, provider, client, assets, routes, allowed_login_parameters, frontchannel_logout, .. } =
        frontend;
    writeln!(f)?;
    line(f, &format!("frontend {id}"), url)?;
    line(f, "  provider", format!("{} (ID tokens {})", provider.issuer, provider.id_token_alg.name()))?;
    let mode = if client.response_mode == ResponseMode::FormPost { ", form_post" } else { "" };
    line(f, "  client", format!("{} ({}{mode})", client.client_id, auth(&client.auth)))?;
    line(f, "  scopes", client.scopes.join(" "))?;
    line(f, "  register", format!("{} as redirect URI", client.redirect_uri))?;
    line(f, "", format!("{} as post-logout redirect URI", client.post_logout_redirect_uri))?;
    if let Ok(uri) = client.redirect_uri.join("backchannel-logout") {
        line(f, "", format!("{uri} as back-channel logout URI, session required"))?;
    }
    if let Ok(uri) = client.redirect_uri.join("frontchannel-logout")
        && *frontchannel_logout
    {
        line(f, "", format!("{uri} as front-channel logout URI, session required"))?;
    }
    if !allowed_login_parameters.is_empty() {
        let names: Vec<_> = allowed_login_parameters.iter().map(|parameter| parameter.name()).collect();
        line(f, "  login takes", names.join(", "))?;
    }
    match assets {
        Some(AssetsOptions::Dir(dir)) => line(f, "  assets", dir.display())?,
        Some(AssetsOptions::Proxy(url)) => line(f, "  assets", url)?,
        _ => line(f, "  assets", "none")?,
    }
    routes.iter().try_for_each(|route| line(f, "  route", show_route(route)))
}

fn auth(auth: &ClientAuth) -> &'static str {
    match auth {
        ClientAuth::None => "public client",
        ClientAuth::SecretBasic(_) => "client_secret_basic",
        ClientAuth::SecretPost(_) => "client_secret_post",
    }
}

fn show_route(route: &RouteOptions) -> String {
    let methods = match route.methods.as_slice() {
        [] => String::new(),
        methods => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(",") + " ",
    };
    let token = match (route.token, route.session_required) {
        (TokenPolicy::Required, _) => "token required",
        (TokenPolicy::Optional, _) => "token if logged in",
        (TokenPolicy::None, true) => "no token, session required",
        (TokenPolicy::None, false) => "no token",
    };
    let acr = route.min_acr.iter().map(|acr| format!(", acr {acr} or stronger"));
    let age = route.max_auth_age.iter().map(|age| format!(", authenticated within {}", show_duration(*age)));
    let login: String = acr.chain(age).collect();
    let csrf = if route.csrf == CsrfPolicy::Header { "" } else { ", no header needed" };
    let addresses = match route.addresses.as_slice() {
        [] => String::new(),
        addresses => format!(" at {}", addresses.iter().map(Authority::as_str).collect::<Vec<_>>().join(", ")),
    };
    format!("{methods}{} → {}{addresses} ({token}{login}{csrf})", route.path, route.upstream)
}

const WIDTH: usize = 20;
