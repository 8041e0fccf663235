//! Cookies by host and path.

use url::Url;

/// A cookie as kept. Ports are not part of it: cookies do not know them.
#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    host: String,
    path: String,
    pub(crate) name: String,
    pub(crate) value: String,
    pub(super) strict: bool,
}

impl Cookie {
    /// The cookie, and whether the server takes it away.
    pub(super) fn parse(line: &str, from: &Url) -> (Self, bool) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie has a name");
        let mut cookie = Self {
            host: from.host_str().expect("cookies come from a host").to_owned(),
            path: "/".to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            strict: false,
        };
        let mut removal = false;
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "path" => value.clone_into(&mut cookie.path),
                "samesite" => cookie.strict = value.eq_ignore_ascii_case("strict"),
                "max-age" => removal |= value == "0",
                "expires" => removal |= value.contains(" 1970 "),
                _ => {}
            }
        }
        (cookie, removal)
    }

    /// RFC 6265 §5.1.4.
    pub(super) fn fits(&self, url: &Url) -> bool {
        let below = url.path().strip_prefix(&self.path);
        url.host_str() == Some(&self.host)
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        (&self.host, &self.path, &self.name) == (&other.host, &other.path, &other.name)
    }
}
