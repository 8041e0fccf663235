//! Every error in both forms, as people and programs see it.

use std::collections::HashSet;
use std::time::Duration;

use http::{HeaderValue, Response};
use http_body_util::BodyExt as _;

use super::*;
use crate::error::ALL;
use crate::oidc::{ErrorCode, IdTokenReason, ResponseReason};
use crate::{oidc, store};

fn every_variant() -> Vec<Error> {
    vec![
        Error::NotAuthenticated,
        Error::SessionExpired,
        Error::CsrfHeaderMissing { header: "x-csrf".to_owned() },
        Error::CrossSiteRequest,
        Error::ReturnToNotAllowed,
        Error::UnknownIssuer,
        Error::LoginNeedsNavigation,
        Error::LoginParameterNotAllowed { parameter: "prompt" },
        Error::LoginExpired { login_url: "/bff/login?return_to=%2Fcart".to_owned() },
        Error::LoginEnded,
        Error::LoginResponseInvalid(ResponseReason::Repeated),
        Error::LoginRefused(ErrorCode::new("access_denied")),
        Error::LoginWeaker,
        Error::ProviderMisbehaved(oidc::Error::IdToken(IdTokenReason::Nonce)),
        Error::ProviderUnavailable { cause: None, retry_after: Duration::from_millis(4001) },
        Error::LogoutLinkNotYours,
        Error::RouteNotFound,
        Error::MethodNotAllowed { allow: HeaderValue::from_static("GET") },
        Error::BodyTooLarge,
        Error::RequestInterrupted,
        Error::PathNotAllowed,
        Error::WorkerScriptRefused,
        Error::MisdirectedRequest,
        Error::UpstreamUnavailable { cause: "connection refused".to_owned() },
        Error::UpstreamTimeout,
        Error::Unavailable(Some(store::Error::Unavailable("disk I/O error".to_owned()))),
        Error::Internal("a handler panicked"),
        Error::AdminTokenNeeded,
        Error::SelectionInvalid { why: "sub is empty".to_owned() },
        Error::LogoutRequestInvalid("another issuer"),
        Error::TooManyRequests { retry_after: Duration::from_millis(1500) },
        Error::LoginTooWeak(oidc::Error::IdToken(IdTokenReason::Acr)),
        Error::StepUpRequired { step_up: "c2VhbGVk".into() },
        Error::HeadersTooLarge,
        Error::TooManyHeaders,
        Error::TransferCodingUnknown,
        Error::TooBusy,
        Error::UpstreamBusy,
    ]
}

fn voice() -> Voice {
    Voice { base_url: "https://shop.example/bff".into(), login_url: "/bff/login".into() }
}

fn answer(error: Error, kind: RequestKind) -> Response<Body> {
    told(error, kind, &voice(), RequestId::of([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]))
}

async fn shown(error: Error, kind: RequestKind) -> String {
    let (parts, body) = answer(error, kind).into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    let mut lines = vec![parts.status.to_string()];
    for (name, value) in &parts.headers {
        if name != header::CONTENT_SECURITY_POLICY {
            lines.push(format!("{name}: {}", value.to_str().expect("ASCII")));
        }
    }
    let body = String::from_utf8(body.into()).expect("UTF-8");
    // The style is the same everywhere and not what is reviewed here.
    let body = match (body.split_once("<style>"), body.split_once("</style>")) {
        (Some((before, _)), Some((_, after))) => format!("{before}<style>…</style>{after}"),
        _ => body,
    };
    lines.extend(["", body.trim()].map(str::to_owned));
    lines.join("\n")
}

#[tokio::test]
async fn every_error_is_told_to_programs() {
    for (n, error) in every_variant().into_iter().enumerate() {
        let name = format!("call_{n:02}_{}", error.slug());
        insta::assert_snapshot!(name, shown(error, RequestKind::Call).await);
    }
}

#[tokio::test]
async fn every_error_is_told_to_people() {
    for (n, error) in every_variant().into_iter().enumerate() {
        let name = format!("page_{n:02}_{}", error.slug());
        insta::assert_snapshot!(name, shown(error, RequestKind::Navigation).await);
    }
}

#[test]
fn every_slug_has_its_explanation_and_its_error() {
    let mut slugs: Vec<&str> = every_variant().iter().map(Error::slug).collect();
    let mut seen = HashSet::new();
    slugs.retain(|slug| seen.insert(*slug));
    let explained: Vec<&str> = ALL.iter().map(|facts| facts.slug).collect();
    assert_eq!(slugs, explained);
}

#[test]
fn a_page_runs_nothing_loads_nothing_and_is_framed_by_nobody() {
    let answer = answer(Error::NotAuthenticated, RequestKind::Navigation);
    let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
}

#[tokio::test]
async fn no_cause_is_told_to_the_browser() {
    for kind in [RequestKind::Call, RequestKind::Navigation] {
        for error in every_variant() {
            let shown = shown(error, kind).await;
            for inside in ["nonce", "disk I/O", "connection refused", "panicked"] {
                assert!(!shown.contains(inside), "{inside} in {shown}");
            }
        }
    }
}
