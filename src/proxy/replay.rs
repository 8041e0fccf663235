//! One more try for a call whose token its API refused: what is kept of every call with a token until the head of its answer is there.
//!
//! An API that says `invalid_token` did not act on the request, and its client may retry (RFC 6750 §3.1): so any method may be sent again,
//! and is, once, if another token is to be had and all of its body is at hand.

use std::pin::pin;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::Full;

use super::body::{Keep, RequestBody, ResponseBody};
use super::challenge::Refusal;
use super::client::Stage;
use super::error::Error;
use super::forward::{Call, head};
use crate::tokens::Grant;

/// What came of a call.
#[expect(clippy::large_enum_variant, reason = "nearly all are answered, and a box is an allocation")]
pub(crate) enum Forwarded<'a> {
    /// The upstream's answer.
    Answered(Response<ResponseBody>),
    /// The upstream's answer says that it does not take the token it was given.
    Refused(Box<Refused<'a>>),
}

/// A call that was refused for its token.
pub(crate) struct Refused<'a> {
    /// How the API says so.
    pub(crate) answer: Response<ResponseBody>,
    /// Why.
    pub(crate) refusal: Refusal,
    /// How it can be sent again, if another token may do and nothing of it is missing.
    pub(crate) again: Option<Again<'a>>,
}

/// A whole call but for a token.
pub(crate) struct Again<'a> {
    pub(super) call: Call<'a>,
    pub(super) head: Head,
    pub(super) body: Bytes,
}

/// A request's method and headers as they were sent, all but `Authorization`.
///
/// Every call with a token pays for this, so it is text: a copy of the map costs four times as much.
pub(super) struct Head {
    method: Method,
    /// Lines, whose name ends with [`PLAIN`] or [`SENSITIVE`].
    fields: Vec<u8>,
}

impl Forwarded<'_> {
    /// What the upstream says, whatever it is.
    pub(crate) fn into_answer(self) -> Response<ResponseBody> {
        match self {
            Self::Answered(answer) => answer,
            Self::Refused(refused) => refused.answer,
        }
    }
}

impl Again<'_> {
    /// Sends the call with another token. The route's limits hold as they did before. `refusal` is the answer it had, which nobody wants
    /// any more.
    ///
    /// # Errors
    /// As `forward`, but for what was checked before anything was sent.
    pub(crate) async fn send(
        mut self,
        grant: &Grant,
        refusal: Response<ResponseBody>,
    ) -> Result<Response<ResponseBody>, Error> {
        refusal.into_body().discard();
        let (route, options) = (self.call.route, &self.call.route.options);
        let body = RequestBody::new(Full::new(self.body), options.max_body, options.idle_timeout, Keep::Nothing);
        let (body, upload) = body.ok_or(Error::BodyTooLarge { limit: options.max_body })?;
        let mut request = self.head.request(body);
        *request.uri_mut() = self.call.asked.clone();
        grant.attach(request.headers_mut());
        let stage = Stage::new();
        let exchange = pin!(route.upstream.connections.call(request, self.call.versions(), &stage));
        let answer = head(exchange, &stage, upload.as_ref(), route).await?;
        self.call.answered(answer)
    }
}

impl Head {
    /// Of a request that has no token yet.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut fields = Vec::with_capacity(USUAL_FIELDS);
        for (name, value) in request.headers() {
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.push(if value.is_sensitive() { SENSITIVE } else { PLAIN });
            fields.extend_from_slice(value.as_bytes());
            fields.push(b'\n');
        }
        Self { method: request.method().clone(), fields }
    }

    /// The same request, but for its target.
    fn request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.headers_mut() = read(&self.fields);
        request
    }
}

/// Every line was a header, so every line is one.
fn read(fields: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in fields.split(|&byte| byte == b'\n') {
        let Some(end) = line.iter().position(|&byte| byte == PLAIN || byte == SENSITIVE) else { continue };
        let name = HeaderName::from_bytes(&line[..end]);
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_bytes(&line[end + 1..])) {
            value.set_sensitive(line[end] == SENSITIVE);
            headers.append(name, value);
        }
    }
    headers
}

/// Neither can be in a name, and no line break in a value (RFC 9110 §5.1, §5.5).
const PLAIN: u8 = b':';
const SENSITIVE: u8 = b';';
/// Bytes; a browser's come to some 600.
const USUAL_FIELDS: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_empty_and_sensitive_headers_are_kept_as_they_are() {
        let mut request = Request::new(());
        *request.method_mut() = Method::PATCH;
        for (name, value) in [("x-a", "1"), ("cookie", "a=b; c=d:e"), ("x-a", ""), ("x-b", "\t\u{fc};:"), ("x-a", "3")]
        {
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.headers_mut().get_mut("cookie").unwrap().set_sensitive(true);
        let again = Head::of(&request).request(());
        assert_eq!((again.method(), again.headers()), (request.method(), request.headers()));
        let sensitive = again.headers().iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.as_str());
        assert_eq!(sensitive.collect::<Vec<_>>(), ["cookie"]);
    }

    proptest! {
        #[test]
        fn no_header_is_lost_added_or_changed(
            headers in prop::collection::vec(("[!#$%&'*+.^_`|~0-9a-z-]{1,12}", prop::collection::vec(any::<u8>(), 0..20)), 0..20)
        ) {
            let mut request = Request::new(());
            for (name, value) in &headers {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            let again = Head::of(&request).request(());
            prop_assert_eq!(again.headers(), request.headers());
        }
    }
}
