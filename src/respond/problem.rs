//! RFC 9457 problem details.

use std::borrow::Cow;

use serde::Serialize;

use super::Voice;
use crate::Error;

/// An error as `application/problem+json`.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    /// Absolute URL on the frontend, which explains the type to a person.
    #[serde(rename = "type")]
    type_url: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// Where to log in, if that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    login_url: Option<Cow<'a, str>>,
}

impl<'a> Problem<'a> {
    pub(super) fn new(error: &Error, voice: &'a Voice, request_id: Option<&'a str>) -> Self {
        let facts = error.facts();
        Self {
            type_url: format!("{}/problems/{}", voice.base_url, facts.slug),
            title: facts.title,
            status: facts.status.as_u16(),
            detail: detail(error),
            request_id,
            login_url: error.is_mended_by_login().then(|| voice.login_url(error)),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a problem is plain data")
    }
}

/// What happened, what this one error adds, and what to do.
pub(super) fn detail(error: &Error) -> String {
    let facts = error.facts();
    match error.particulars() {
        Some(particulars) => format!("{} {particulars} {}", facts.happened, facts.remedy),
        None => format!("{} {}", facts.happened, facts.remedy),
    }
}
