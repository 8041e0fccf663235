//! What every kind of error says, whatever the request was: status, stable name, words for people, how loud the log is.

use http::StatusCode;
use tracing::Level;

/// The part of an error that does not depend on the request.
pub(crate) struct Facts {
    pub(crate) status: StatusCode,
    /// Stable name: the last part of the problem type.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    /// What happened, for a person.
    pub(crate) happened: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
    pub(crate) level: Level,
}

/// Every slug there is, for `/bff/problems/{slug}`.
pub(crate) const ALL: [&Facts; 35] = [
    &NOT_AUTHENTICATED,
    &SESSION_EXPIRED,
    &CSRF_HEADER_MISSING,
    &CROSS_SITE_REQUEST,
    &RETURN_TO_NOT_ALLOWED,
    &UNKNOWN_ISSUER,
    &LOGIN_NEEDS_NAVIGATION,
    &LOGIN_PARAMETER_NOT_ALLOWED,
    &LOGIN_EXPIRED,
    &LOGIN_ENDED,
    &LOGIN_RESPONSE_INVALID,
    &LOGIN_REFUSED,
    &PROVIDER_MISBEHAVED,
    &PROVIDER_UNAVAILABLE,
    &LOGOUT_LINK_NOT_YOURS,
    &ROUTE_NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &BODY_TOO_LARGE,
    &REQUEST_INTERRUPTED,
    &PATH_NOT_ALLOWED,
    &WORKER_SCRIPT_REFUSED,
    &MISDIRECTED_REQUEST,
    &UPSTREAM_UNAVAILABLE,
    &UPSTREAM_TIMEOUT,
    &UNAVAILABLE,
    &INTERNAL,
    &ADMIN_TOKEN_NEEDED,
    &SELECTION_INVALID,
    &LOGOUT_REQUEST_INVALID,
    &TOO_MANY_REQUESTS,
    &STEP_UP_REQUIRED,
    &HEADERS_TOO_LARGE,
    &TRANSFER_CODING_UNKNOWN,
    &TOO_BUSY,
    &UPSTREAM_BUSY,
];

pub(super) const NOT_AUTHENTICATED: Facts = Facts {
    status: StatusCode::UNAUTHORIZED,
    slug: "not-authenticated",
    title: "Not logged in",
    happened: "This needs a logged-in user.",
    remedy: "Log in and try again.",
    level: Level::DEBUG,
};
pub(super) const SESSION_EXPIRED: Facts = Facts {
    status: StatusCode::UNAUTHORIZED,
    slug: "session-expired",
    title: "Your session is over",
    happened: "It ran out or was ended.",
    remedy: "Log in again to go on.",
    level: Level::INFO,
};
pub(super) const CSRF_HEADER_MISSING: Facts = Facts {
    status: StatusCode::FORBIDDEN,
    slug: "csrf-header-missing",
    title: "A header is missing",
    happened: "Calls of the application carry a header that other sites cannot send. This one did not.",
    remedy: "Send it with every call, reading ones too.",
    level: Level::WARN,
};
pub(super) const CROSS_SITE_REQUEST: Facts = Facts {
    status: StatusCode::FORBIDDEN,
    slug: "cross-site-request",
    title: "The request came from another site",
    happened: "It does not come from the application's own pages, and only they may do this.",
    remedy: "Open the application and do it there.",
    level: Level::WARN,
};
pub(super) const RETURN_TO_NOT_ALLOWED: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "return-to-not-allowed",
    title: "The link leads nowhere",
    happened: "After logging in one can only return to a page of this application.",
    remedy: "Open the application and log in from there.",
    level: Level::INFO,
};
pub(super) const UNKNOWN_ISSUER: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "unknown-issuer",
    title: "Unknown provider",
    happened: "The link asks to log in with a provider that this application does not use.",
    remedy: "Open the application and log in from there.",
    level: Level::INFO,
};
pub(super) const LOGIN_NEEDS_NAVIGATION: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "login-needs-navigation",
    title: "This link has to be opened",
    happened: "Logging in and out happen by opening the link in the browser's window, not by fetching, preloading or framing it.",
    remedy: "Open the link itself.",
    level: Level::INFO,
};
pub(super) const LOGIN_PARAMETER_NOT_ALLOWED: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "login-parameter-not-allowed",
    title: "The link asks for something it may not",
    happened: "A login link may set only parameters that the operator allowed, once each, to values that make sense.",
    remedy: "Leave the parameter out, or have it allowed.",
    level: Level::INFO,
};
pub(super) const LOGIN_EXPIRED: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "login-expired",
    title: "This login is over",
    happened: "It took too long, was finished already, or was started in another browser.",
    remedy: "Start again.",
    level: Level::INFO,
};
pub(super) const LOGIN_ENDED: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "login-ended",
    title: "You were logged out meanwhile",
    happened: "The provider ended this login before it was complete.",
    remedy: "Start again.",
    level: Level::INFO,
};
pub(super) const LOGIN_RESPONSE_INVALID: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "login-response-invalid",
    title: "The provider's answer does not fit",
    happened: "The login came back in a form that cannot be trusted.",
    remedy: "Start again.",
    level: Level::WARN,
};
pub(super) const LOGIN_REFUSED: Facts = Facts {
    status: StatusCode::FORBIDDEN,
    slug: "login-refused",
    title: "The login was refused",
    happened: "The provider did not sign you in, or not as this application needs it.",
    remedy: "Start again, or ask whoever looks after your account.",
    level: Level::INFO,
};
pub(super) const PROVIDER_MISBEHAVED: Facts = Facts {
    status: StatusCode::BAD_GATEWAY,
    slug: "provider-misbehaved",
    title: "The provider's answer cannot be used",
    happened: "Logging in failed on the provider's side or by our registration there.",
    remedy: "Start again; if it goes on, tell the operator the request id.",
    level: Level::ERROR,
};
pub(super) const PROVIDER_UNAVAILABLE: Facts = Facts {
    status: StatusCode::SERVICE_UNAVAILABLE,
    slug: "provider-unavailable",
    title: "The provider cannot be reached",
    happened: "The login service does not answer. Nothing is lost.",
    remedy: "Try again in a moment.",
    level: Level::WARN,
};
pub(super) const LOGOUT_LINK_NOT_YOURS: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "logout-link-not-yours",
    title: "This logout link is not yours",
    happened: "It belongs to another session.",
    remedy: "Log out from the application itself.",
    level: Level::INFO,
};
pub(super) const ROUTE_NOT_FOUND: Facts = Facts {
    status: StatusCode::NOT_FOUND,
    slug: "route-not-found",
    title: "There is nothing here",
    happened: "No page, endpoint or route has this path.",
    remedy: "Check the address.",
    level: Level::DEBUG,
};
pub(super) const METHOD_NOT_ALLOWED: Facts = Facts {
    status: StatusCode::METHOD_NOT_ALLOWED,
    slug: "method-not-allowed",
    title: "The method is not allowed here",
    happened: "This address takes other methods.",
    remedy: "Use one that the Allow header names.",
    level: Level::DEBUG,
};
pub(super) const BODY_TOO_LARGE: Facts = Facts {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    slug: "body-too-large",
    title: "The body is too large",
    happened: "The request's body is larger than what is taken here.",
    remedy: "Send less at once.",
    level: Level::INFO,
};
pub(super) const REQUEST_INTERRUPTED: Facts = Facts {
    status: StatusCode::REQUEST_TIMEOUT,
    slug: "request-interrupted",
    title: "The request broke off",
    happened: "Its body stalled on the way.",
    remedy: "Send it again.",
    level: Level::INFO,
};
pub(super) const PATH_NOT_ALLOWED: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "path-not-allowed",
    title: "The path is not allowed",
    happened: "It holds dot segments, doubled slashes or encoded separators, which could lead elsewhere.",
    remedy: "Write the path plainly.",
    level: Level::WARN,
};
pub(super) const WORKER_SCRIPT_REFUSED: Facts = Facts {
    status: StatusCode::FORBIDDEN,
    slug: "worker-script-refused",
    title: "No worker scripts from an API",
    happened: "A worker script must come from the application's own files, not from an API.",
    remedy: "Serve the script with the application.",
    level: Level::WARN,
};
pub(super) const MISDIRECTED_REQUEST: Facts = Facts {
    status: StatusCode::MISDIRECTED_REQUEST,
    slug: "misdirected-request",
    title: "The request is for another host",
    happened: "Nothing is served under this name here.",
    remedy: "Check the address, or the name configured for this server.",
    level: Level::INFO,
};
pub(super) const ADMIN_TOKEN_NEEDED: Facts = Facts {
    status: StatusCode::UNAUTHORIZED,
    slug: "admin-token-needed",
    title: "For operators only",
    happened: "This needs the configured admin token, as a bearer token.",
    remedy: "Send it in the Authorization header.",
    level: Level::WARN,
};
pub(super) const SELECTION_INVALID: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "selection-invalid",
    title: "It is not clear which sessions are meant",
    happened: "Nothing was done, since the query must name sessions exactly.",
    remedy: "Correct it and send it again.",
    level: Level::INFO,
};
pub(super) const UPSTREAM_UNAVAILABLE: Facts = Facts {
    status: StatusCode::BAD_GATEWAY,
    slug: "upstream-unavailable",
    title: "The API cannot be reached",
    happened: "The service behind this route did not answer.",
    remedy: "Try again in a moment.",
    level: Level::WARN,
};
pub(super) const UPSTREAM_TIMEOUT: Facts = Facts {
    status: StatusCode::GATEWAY_TIMEOUT,
    slug: "upstream-timeout",
    title: "The API took too long",
    happened: "The service behind this route did not answer in time. It may still have done what was asked.",
    remedy: "See whether it did before trying again.",
    level: Level::WARN,
};
pub(super) const UPSTREAM_BUSY: Facts = Facts {
    status: StatusCode::SERVICE_UNAVAILABLE,
    slug: "upstream-busy",
    title: "The API is busy",
    happened: "The service behind this route has more to do than it can take. Nothing was done.",
    remedy: "Try again in a moment.",
    level: Level::WARN,
};
pub(super) const UNAVAILABLE: Facts = Facts {
    status: StatusCode::SERVICE_UNAVAILABLE,
    slug: "unavailable",
    title: "Sessions cannot be read right now",
    happened: "You are not logged out, and nothing is lost.",
    remedy: "Try again in a moment.",
    level: Level::ERROR,
};
pub(super) const INTERNAL: Facts = Facts {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    slug: "internal",
    title: "Something went wrong on our side",
    happened: "This is our fault, not yours.",
    remedy: "Try again; if it goes on, tell the operator the request id.",
    level: Level::ERROR,
};
pub(super) const LOGOUT_REQUEST_INVALID: Facts = Facts {
    status: StatusCode::BAD_REQUEST,
    slug: "logout-request-invalid",
    title: "The logout request does not fit",
    happened: "A provider that logs somebody out here says who it is and which session it means. This request does not.",
    remedy: "Log out from the application itself.",
    level: Level::WARN,
};
pub(super) const TOO_MANY_REQUESTS: Facts = Facts {
    status: StatusCode::TOO_MANY_REQUESTS,
    slug: "too-many-requests",
    title: "Too many requests",
    happened: "Your network has asked for this more often than is allowed.",
    remedy: "Wait a moment and try again.",
    level: Level::WARN,
};
pub(super) const STEP_UP_REQUIRED: Facts = Facts {
    status: StatusCode::UNAUTHORIZED,
    slug: "step-up-required",
    title: "Please confirm that it is you",
    happened: "This needs a stronger or more recent login than the one you have.",
    remedy: "Log in once more and try again; until then everything else goes on.",
    level: Level::INFO,
};
pub(super) const HEADERS_TOO_LARGE: Facts = Facts {
    // RFC 6585 §5.
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    slug: "headers-too-large",
    title: "The request's head is too large",
    happened: "Its address, cookies and other headers are more than what is taken here.",
    remedy: "Remove cookies of this site and try again.",
    level: Level::INFO,
};
pub(super) const TRANSFER_CODING_UNKNOWN: Facts = Facts {
    status: StatusCode::NOT_IMPLEMENTED,
    slug: "transfer-coding-unknown",
    title: "The transfer coding is not known here",
    happened: "The request's body comes in a coding that nobody here can undo.",
    remedy: "Send it without one, or in chunks.",
    level: Level::WARN,
};
pub(super) const TOO_BUSY: Facts = Facts {
    status: StatusCode::SERVICE_UNAVAILABLE,
    slug: "too-busy",
    title: "Too much is going on here",
    happened: "As many requests are being answered as can be. Nothing is lost.",
    remedy: "Try again in a moment.",
    level: Level::WARN,
};
