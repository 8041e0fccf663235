//! What people see of the provider. No page loads anything; the one script is a constant that the policy names by its hash.

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use url::Url;

/// Why a request ends on a page of the provider instead of going back to a client that cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    UnknownClient,
    UnknownRedirectUri,
    UnknownLogoutUri,
    Repeated,
    LoginOver,
}

#[derive(Template)]
#[template(path = "demo/login.html")]
struct Login<'a> {
    css: &'static str,
    handle: &'a str,
    client_id: &'a str,
    username: &'a str,
    refused: bool,
}

#[derive(Template)]
#[template(path = "demo/second_factor.html")]
struct SecondFactor<'a> {
    css: &'static str,
    handle: &'a str,
    client_id: &'a str,
    name: &'a str,
}

#[derive(Template)]
#[template(path = "demo/confirm_logout.html")]
struct ConfirmLogout<'a> {
    css: &'static str,
    name: &'a str,
    action: String,
}

#[derive(Template)]
#[template(path = "demo/message.html")]
struct Message {
    css: &'static str,
    title: &'static str,
    text: &'static str,
}

#[derive(Template)]
#[template(path = "demo/signed_out.html")]
struct SignedOut<'a> {
    css: &'static str,
    frames: &'a [Url],
    then: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "demo/form_post.html")]
struct FormPost<'a> {
    css: &'static str,
    script: &'static str,
    action: &'a str,
    parameters: &'a [(&'static str, String)],
}

/// The login form: posts `request`, `username` and `password` to `/login`.
pub(super) fn login(handle: &str, client_id: &str, username: &str, refused: bool) -> Response {
    let status = if refused { StatusCode::FORBIDDEN } else { StatusCode::OK };
    page(status, &Login { css: CSS, handle, client_id, username, refused })
}

/// The form for the second factor: posts `request` to `/second-factor`.
pub(super) fn second_factor(handle: &str, client_id: &str, name: &str) -> Response {
    page(StatusCode::OK, &SecondFactor { css: CSS, handle, client_id, name })
}

/// Asks whether to log out; posts `confirmed=yes` to the same request.
pub(super) fn confirm_logout(name: &str, request: &str) -> Response {
    page(StatusCode::OK, &ConfirmLogout { css: CSS, name, action: format!("/end_session?{request}") })
}

/// Says that it is done, frames the clients that want to be told in the browser (Front-Channel Logout §2), and leads on when they have
/// been loaded: browsers wait with a `Refresh` for the whole page.
pub(super) fn signed_out(frames: &[Url], then: Option<&str>) -> Response {
    let mut response = page(StatusCode::OK, &SignedOut { css: CSS, frames, then });
    let mut policy = POLICY.clone();
    if !frames.is_empty() {
        let origins: Vec<_> = frames.iter().map(|frame| frame.origin().ascii_serialization()).collect();
        policy = format!("{policy}; frame-src {}", origins.join(" "));
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).expect("origins are plain ASCII"));
    if let Some(refresh) = then.and_then(|then| HeaderValue::try_from(format!("0; url={then}")).ok()) {
        headers.insert(header::REFRESH, refresh);
    }
    response
}

/// A form that posts itself (Form Post Response Mode §2); without scripts, by a button.
pub(super) fn form_post(action: &str, parameters: &[(&'static str, String)]) -> Response {
    page(StatusCode::OK, &FormPost { css: CSS, script: SCRIPT, action, parameters })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = match self {
            Self::UnknownClient => "The application that sent you here is not registered with this provider.",
            Self::UnknownRedirectUri => {
                "The application asked to send you on to an address that is not registered for it. To be safe, you stay here."
            }
            Self::UnknownLogoutUri => {
                "The application asked to send you on, after logging out, to an address that is not registered for it. You are still logged in."
            }
            Self::Repeated => "The request names a parameter twice, so it is not clear what it means.",
            Self::LoginOver => {
                "This login form was already used, or the provider was restarted. Go back to the application and start again."
            }
        };
        page(StatusCode::BAD_REQUEST, &Message { css: CSS, title: "This does not work", text })
    }
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY.as_str()), (header::REFERRER_POLICY, "no-referrer")];
    match template.render() {
        Ok(html) => (status, headers, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// No `form-action`: browsers hold it against the redirects that follow a form, and those lead to the client.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let (css, script) = (hash(CSS), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{css}'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    )
});

const CSS: &str = include_str!("../../../static/demo/provider.css");
const SCRIPT: &str = "document.forms[0].submit()";
