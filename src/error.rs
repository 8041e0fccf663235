//! The one error at the HTTP edge. A variant is what it means to the *browser*; what happened inside rides along as its source and is
//! only logged.
//!
//! Below the edge each module has a narrow error of its own. A handler returns this one; `respond` gives it a form.

mod facts;

use std::time::Duration;

use http::{HeaderValue, StatusCode};

pub(crate) use self::facts::{ALL, Facts};
use crate::frontend::{ASSETS_ALLOW, AssetsRefusal};
use crate::metric::Limit;
use crate::oidc::{self, ErrorCode, IdTokenReason, ResponseReason};
use crate::secret::Secret;
use crate::{proxy, store, tokens};

/// What went wrong, for the browser.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No session where one is needed.
    #[error("there is no session")]
    NotAuthenticated,
    /// The session ran out or was ended.
    #[error("the session is over")]
    SessionExpired,
    /// The header that proves a call comes from our page is missing.
    #[error("the header {header} is missing")]
    CsrfHeaderMissing {
        /// Its configured name.
        header: String,
    },
    /// The request does not come from our page.
    #[error("the request comes from another site")]
    CrossSiteRequest,
    /// `return_to` or `target_link_uri` is not a page of this frontend.
    #[error("return_to is not a page of this frontend")]
    ReturnToNotAllowed,
    /// `iss` of a third-party-initiated login is not our provider.
    #[error("the login names another issuer")]
    UnknownIssuer,
    /// A login or logout link was fetched, prefetched or framed, not navigated to.
    #[error("only a navigation may do this")]
    LoginNeedsNavigation,
    /// A login link sets a parameter that is not allowed, or sets it to nonsense.
    #[error("the login parameter {parameter} is not allowed")]
    LoginParameterNotAllowed {
        /// Its name if it is one we know; else `unknown`, or `repeated`.
        parameter: &'static str,
    },
    /// The login attempt is unknown, used or old.
    #[error("the login attempt is unknown, used or old")]
    LoginExpired {
        /// Where "start again" leads.
        login_url: String,
    },
    /// The provider ended this login meanwhile.
    #[error("the provider ended this login meanwhile")]
    LoginEnded,
    /// The authorization response is malformed, or comes from somebody else.
    #[error("the authorization response is refused: {0}")]
    LoginResponseInvalid(ResponseReason),
    /// The provider answered the login with an error.
    #[error("the provider refused the login: {}", .0.as_str())]
    LoginRefused(ErrorCode),
    /// The login is weaker than the session it would replace.
    #[error("the login is weaker than the session it would replace")]
    LoginWeaker,
    /// The login is weaker than was asked for.
    #[error("the login is weaker than was asked for")]
    LoginTooWeak(#[source] oidc::Error),
    /// The provider's answer cannot be used.
    #[error("the provider misbehaved")]
    ProviderMisbehaved(#[source] oidc::Error),
    /// The provider is needed and cannot be asked.
    #[error("the provider is unavailable")]
    ProviderUnavailable {
        /// What was seen, if this request saw it.
        #[source]
        cause: Option<oidc::Error>,
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// A logout link names another session than the cookie.
    #[error("the logout link belongs to another session")]
    LogoutLinkNotYours,
    /// No such path.
    #[error("there is nothing here")]
    RouteNotFound,
    /// The path is there; the method is not.
    #[error("the method is not allowed")]
    MethodNotAllowed {
        /// The methods that are.
        allow: HeaderValue,
    },
    /// The body is larger than allowed.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The body stalled or broke off.
    #[error("the body stalled or broke off")]
    RequestInterrupted,
    /// The path holds something that might leave the route.
    #[error("the path is not allowed")]
    PathNotAllowed,
    /// A worker script was asked for on a route.
    #[error("a worker script was asked for on a route")]
    WorkerScriptRefused,
    /// The authority is none of ours.
    #[error("the request is for another host")]
    MisdirectedRequest,
    /// Only an operator may do this, and the caller does not prove to be one.
    #[error("the admin token is missing or wrong")]
    AdminTokenNeeded,
    /// An operator did not say clearly which sessions are meant.
    #[error("it is not clear which sessions are meant: {why}")]
    SelectionInvalid {
        /// What is wrong with the query.
        why: String,
    },
    /// The upstream cannot be reached.
    #[error("the upstream is unavailable: {cause}")]
    UpstreamUnavailable {
        /// What was seen, for the log.
        cause: String,
    },
    /// The upstream is too slow.
    #[error("the upstream is too slow")]
    UpstreamTimeout,
    /// All connections to the upstream that may be open are in use.
    #[error("all connections to the upstream are in use")]
    UpstreamBusy,
    /// The store cannot be asked.
    #[error("the store is unavailable")]
    Unavailable(#[source] Option<store::Error>),
    /// The session's login is too weak or too old for this.
    #[error("the login was too weak or is too old")]
    StepUpRequired {
        /// `step_up` of the login link that leads to a stronger one.
        step_up: Secret<String>,
    },
    /// Our fault.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// A front-channel logout that does not say once who says so and which session is meant.
    #[error("the front-channel logout is refused: {0}")]
    LogoutRequestInvalid(&'static str),
    /// The request's head is larger than allowed.
    #[error("the request's head is too large")]
    HeadersTooLarge,
    /// The request has more header fields than allowed.
    #[error("the request has too many header fields")]
    TooManyHeaders,
    /// The body was coded for its way here in a manner nobody understands (RFC 9112 §6.1).
    #[error("the body has an unknown transfer coding")]
    TransferCodingUnknown,
    /// As many requests are being answered as may be.
    #[error("too many requests are under way")]
    TooBusy,
    /// One client does something more often than is allowed.
    #[error("one client asks too often")]
    TooManyRequests {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.facts().status
    }

    /// The stable name: the last part of the problem type.
    pub fn slug(&self) -> &'static str {
        self.facts().slug
    }

    pub(crate) fn facts(&self) -> &'static Facts {
        match self {
            Self::NotAuthenticated => &facts::NOT_AUTHENTICATED,
            Self::SessionExpired => &facts::SESSION_EXPIRED,
            Self::CsrfHeaderMissing { .. } => &facts::CSRF_HEADER_MISSING,
            Self::CrossSiteRequest => &facts::CROSS_SITE_REQUEST,
            Self::ReturnToNotAllowed => &facts::RETURN_TO_NOT_ALLOWED,
            Self::UnknownIssuer => &facts::UNKNOWN_ISSUER,
            Self::LoginNeedsNavigation => &facts::LOGIN_NEEDS_NAVIGATION,
            Self::LoginParameterNotAllowed { .. } => &facts::LOGIN_PARAMETER_NOT_ALLOWED,
            Self::LoginExpired { .. } => &facts::LOGIN_EXPIRED,
            Self::LoginEnded => &facts::LOGIN_ENDED,
            Self::LoginResponseInvalid(_) => &facts::LOGIN_RESPONSE_INVALID,
            Self::LoginRefused(_) | Self::LoginWeaker | Self::LoginTooWeak(_) => &facts::LOGIN_REFUSED,
            Self::ProviderMisbehaved(_) => &facts::PROVIDER_MISBEHAVED,
            Self::ProviderUnavailable { .. } => &facts::PROVIDER_UNAVAILABLE,
            Self::LogoutLinkNotYours => &facts::LOGOUT_LINK_NOT_YOURS,
            Self::RouteNotFound => &facts::ROUTE_NOT_FOUND,
            Self::MethodNotAllowed { .. } => &facts::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => &facts::BODY_TOO_LARGE,
            Self::RequestInterrupted => &facts::REQUEST_INTERRUPTED,
            Self::PathNotAllowed => &facts::PATH_NOT_ALLOWED,
            Self::WorkerScriptRefused => &facts::WORKER_SCRIPT_REFUSED,
            Self::MisdirectedRequest => &facts::MISDIRECTED_REQUEST,
            Self::AdminTokenNeeded => &facts::ADMIN_TOKEN_NEEDED,
            Self::SelectionInvalid { .. } => &facts::SELECTION_INVALID,
            Self::UpstreamUnavailable { .. } => &facts::UPSTREAM_UNAVAILABLE,
            Self::UpstreamTimeout => &facts::UPSTREAM_TIMEOUT,
            Self::UpstreamBusy => &facts::UPSTREAM_BUSY,
            Self::Unavailable(_) => &facts::UNAVAILABLE,
            Self::Internal(_) => &facts::INTERNAL,
            Self::LogoutRequestInvalid(_) => &facts::LOGOUT_REQUEST_INVALID,
            Self::TooManyRequests { .. } => &facts::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge | Self::TooManyHeaders => &facts::HEADERS_TOO_LARGE,
            Self::TransferCodingUnknown => &facts::TRANSFER_CODING_UNKNOWN,
            Self::TooBusy => &facts::TOO_BUSY,
            Self::StepUpRequired { .. } => &facts::STEP_UP_REQUIRED,
        }
    }

    /// Whether a person can log in and go on.
    pub(crate) fn is_mended_by_login(&self) -> bool {
        self.status() == StatusCode::UNAUTHORIZED && !matches!(self, Self::AdminTokenNeeded)
    }

    /// `Retry-After`, for what passes.
    pub(crate) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::ProviderUnavailable { retry_after, .. } | Self::TooManyRequests { retry_after } => {
                Some(whole_seconds(*retry_after))
            }
            // A store that is back is noticed within a second.
            Self::Unavailable(_) => Some(2),
            Self::TooBusy => Some(1),
            Self::UpstreamBusy => Some(whole_seconds(SOON)),
            _ => None,
        }
    }

    /// The limit that was met, if it was one. How often a client asks is counted where it is judged, which knows whose limit it is.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::HeadersTooLarge => Some(Limit::Headers),
            Self::TooManyHeaders => Some(Limit::HeaderCount),
            Self::TooBusy => Some(Limit::InFlight),
            Self::UpstreamBusy => Some(Limit::UpstreamConnections),
            Self::BodyTooLarge => Some(Limit::Body),
            Self::RequestInterrupted => Some(Limit::IdleTimeout),
            Self::UpstreamTimeout => Some(Limit::Timeout),
            _ => None,
        }
    }

    /// What this one error adds to the general text.
    pub(crate) fn particulars(&self) -> Option<String> {
        match self {
            Self::CsrfHeaderMissing { header } => {
                Some(format!("Send the header {header} (any value) with this request."))
            }
            Self::LoginParameterNotAllowed { parameter: "unknown" } => Some("One is not known here.".to_owned()),
            Self::LoginParameterNotAllowed { parameter: "repeated" } => Some("One comes twice.".to_owned()),
            Self::LoginParameterNotAllowed { parameter } => Some(format!("The parameter is {parameter}.")),
            Self::LoginRefused(code) => Some(format!("The provider said: {}.", code.as_str())),
            Self::SelectionInvalid { why } => Some(format!("Here {why}.")),
            Self::TooManyHeaders => Some("It has too many lines.".to_owned()),
            Self::LoginWeaker => Some("It was weaker than the session you have, which goes on.".to_owned()),
            Self::LoginTooWeak(_) => Some("It was weaker than what was asked for.".to_owned()),
            _ => None,
        }
    }
}

impl From<oidc::Error> for Error {
    fn from(error: oidc::Error) -> Self {
        match error {
            // A broken discovery document or key set stops every login, until somebody mends it there or in our configuration.
            oidc::Error::Unavailable { .. } | oidc::Error::Discovery(_) | oidc::Error::Keys(_) => {
                Self::ProviderUnavailable { cause: Some(error), retry_after: SOON }
            }
            oidc::Error::Response(reason) => Self::LoginResponseInvalid(reason),
            oidc::Error::Refused(code) => Self::LoginRefused(code),
            // `acr_values` are voluntary (OIDC Core §3.1.2.1), so a provider that cannot do better does nothing wrong.
            oidc::Error::IdToken(IdTokenReason::Acr) => Self::LoginTooWeak(error),
            _ => Self::ProviderMisbehaved(error),
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(Some(error))
    }
}

impl From<proxy::Error> for Error {
    fn from(error: proxy::Error) -> Self {
        match error {
            proxy::Error::PathRejected => Self::PathNotAllowed,
            proxy::Error::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            proxy::Error::WorkerScriptRefused => Self::WorkerScriptRefused,
            proxy::Error::BodyTooLarge { .. } => Self::BodyTooLarge,
            proxy::Error::RequestInterrupted => Self::RequestInterrupted,
            proxy::Error::UpstreamUnavailable { cause } => Self::UpstreamUnavailable { cause },
            proxy::Error::UpstreamTimeout => Self::UpstreamTimeout,
            proxy::Error::UpstreamBusy => Self::UpstreamBusy,
        }
    }
}

impl From<AssetsRefusal> for Error {
    fn from(refusal: AssetsRefusal) -> Self {
        match refusal {
            AssetsRefusal::NotFound => Self::RouteNotFound,
            AssetsRefusal::MethodNotAllowed => Self::MethodNotAllowed { allow: ASSETS_ALLOW },
            AssetsRefusal::Unreadable { .. } => Self::Internal("a file of the SPA cannot be read"),
            AssetsRefusal::DevelopmentServer(error) => error.into(),
        }
    }
}

impl From<proxy::FindError> for Error {
    fn from(error: proxy::FindError) -> Self {
        match error {
            proxy::FindError::NotFound => Self::RouteNotFound,
            proxy::FindError::MethodNotAllowed { allow } => Self::MethodNotAllowed { allow },
            proxy::FindError::PathRejected => Self::PathNotAllowed,
        }
    }
}

impl From<tokens::Error> for Error {
    fn from(error: tokens::Error) -> Self {
        match error {
            tokens::Error::NotAuthenticated => Self::NotAuthenticated,
            tokens::Error::SessionExpired => Self::SessionExpired,
            tokens::Error::StepUpRequired { step_up } => Self::StepUpRequired { step_up },
            tokens::Error::ProviderUnavailable { retry_after } => {
                Self::ProviderUnavailable { cause: None, retry_after }
            }
            tokens::Error::StoreUnavailable(cause) => Self::Unavailable(cause),
        }
    }
}

/// Rounded up, at least one: "again at once" helps nobody.
fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// When to ask again, if nothing better is known.
const SOON: Duration = Duration::from_secs(5);
