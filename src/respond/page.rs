//! Pages of our own: errors, the hop of the callback, the explanation of a problem type. They run no script and load nothing.

use std::borrow::Cow;
use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};

use super::{Voice, problem};
use crate::Error;
use crate::error::Facts;

/// An error, for a person.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage<'a> {
    title: &'static str,
    detail: String,
    status: u16,
    slug: &'static str,
    request_id: Option<&'a str>,
    action_href: Option<Cow<'a, str>>,
    action_label: &'static str,
    css: &'static str,
}

impl<'a> ErrorPage<'a> {
    pub(super) fn new(error: &Error, voice: &'a Voice, request_id: Option<&'a str>) -> Self {
        let facts = error.facts();
        let action_label = match facts.status {
            _ if error.is_mended_by_login() => "Log in",
            _ if facts.slug.starts_with("login-") && facts.slug != "login-parameter-not-allowed" => "Start again",
            _ => "",
        };
        let action_href = (!action_label.is_empty()).then(|| voice.login_url(error));
        let detail = problem::detail(error);
        let (title, slug, status) = (facts.title, facts.slug, facts.status.as_u16());
        Self { title, detail, status, slug, request_id, action_href, action_label, css: CSS }
    }

    pub(super) fn to_html(&self) -> Vec<u8> {
        render(self)
    }
}

/// The page a provider's answer lands on first: it only leads on to the same place, now from our own site (`routes/callback.rs`).
#[derive(Template)]
#[template(path = "hop.html")]
pub(crate) struct HopPage<'a> {
    pub(crate) url: &'a str,
    /// Seconds until it leads on.
    pub(crate) seconds: u8,
}

/// Explains a problem type.
#[derive(Template)]
#[template(path = "problem.html")]
pub(crate) struct ProblemPage {
    title: &'static str,
    happened: &'static str,
    remedy: &'static str,
    status: u16,
    slug: &'static str,
    css: &'static str,
}

impl ProblemPage {
    pub(crate) fn new(facts: &'static Facts) -> Self {
        let Facts { title, happened, remedy, slug, .. } = *facts;
        Self { title, happened, remedy, status: facts.status.as_u16(), slug, css: CSS }
    }
}

/// A template as bytes.
pub(crate) fn render(template: &impl Template) -> Vec<u8> {
    template.render().expect("templates only write text to memory").into_bytes()
}

/// The headers of a styled page of ours: it may load nothing, run nothing and be framed by nobody.
pub(crate) fn describe_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, STYLED.clone());
}

/// The headers of the hop page, which is not even styled.
pub(crate) fn describe_bare_headers(headers: &mut HeaderMap) {
    describe_headers(headers);
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
}

/// Goes into the page's style element as it is.
const CSS: &str = include_str!("../../static/page.css");

/// The one style element is allowed by its digest.
static STYLED: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, CSS.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is plain ASCII")
});
