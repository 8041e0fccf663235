//! What a request's head must be before anything else is looked at: small enough, and with a body that can be read.

use http::{Request, header};

use crate::Error;
use crate::proxy;

/// How large a head may be, in any version of HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// In bytes: the target and every field line, as HTTP/1.1 writes them.
    pub(crate) max_size: u64,
    /// Field lines, all of `Cookie` counting as one: HTTP/2 has a line for each cookie (RFC 9113 §8.2.3).
    pub(crate) max_count: usize,
}

impl HeadLimits {
    /// # Errors
    /// `TooManyHeaders`, `HeadersTooLarge` (RFC 6585 §5), `TransferCodingUnknown` (RFC 9112 §6.1).
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Error> {
        let headers = request.headers();
        if headers.len() > self.max_count {
            let cookies = headers.get_all(header::COOKIE).iter().count();
            if headers.len() - cookies.saturating_sub(1) > self.max_count {
                return Err(Error::TooManyHeaders);
            }
        }
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len() + LINE;
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        let size = target + headers.iter().map(line).sum::<usize>();
        if size as u64 > self.max_size {
            return Err(Error::HeadersTooLarge);
        }
        if proxy::knows_the_coding(headers) { Ok(()) } else { Err(Error::TransferCodingUnknown) }
    }
}

/// A colon, a blank, and the end of the line.
const LINE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { max_size: 100, max_count: 3 };

    fn checked(target: &str, fields: &[(&str, &str)]) -> Result<(), Error> {
        let request = fields.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value));
        LIMITS.check(&request.body(()).unwrap())
    }

    #[test]
    fn the_size_is_that_of_the_target_and_all_lines() {
        let (target, value) = ("/".repeat(20), "x".repeat(75));
        assert!(checked(&target, &[("a", &value)]).is_ok());
        assert!(matches!(checked(&(target.clone() + "?"), &[("a", &value)]), Err(Error::HeadersTooLarge)));
        assert!(matches!(checked(&target, &[("ab", &value)]), Err(Error::HeadersTooLarge)));
        assert!(matches!(checked(&target, &[("a", &value), ("b", "")]), Err(Error::HeadersTooLarge)));
    }

    #[test]
    fn cookies_are_one_line_however_http2_splits_them() {
        assert!(checked("/", &[("a", ""), ("b", ""), ("cookie", "c=1"), ("cookie", "d=2"), ("cookie", "e=3")]).is_ok());
        let four = [("a", ""), ("b", ""), ("c", ""), ("cookie", "d=1"), ("cookie", "e=2")];
        assert!(matches!(checked("/", &four), Err(Error::TooManyHeaders)));
        assert!(matches!(checked("/", &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]), Err(Error::TooManyHeaders)));
    }
}
