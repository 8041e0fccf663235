//! Parameters of a query or a form. OAuth forbids to send one twice (RFC 6749 §3.1, §3.2), so each is read as *one*.

/// Decoded name and value pairs in the order they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(String, String)>);

/// A parameter came twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a parameter is repeated")]
pub(super) struct Repeated;

impl Parameters {
    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn parse(encoded: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of a parameter. An empty one counts as not sent (RFC 6749 §3.1).
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(Repeated);
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The space-separated values of a parameter.
    pub(super) fn list(&self, name: &str) -> Result<Vec<String>, Repeated> {
        Ok(self.one(name)?.unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// All of them.
    pub(super) fn into_pairs(self) -> Vec<(String, String)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_not_read() {
        let parameters = Parameters::parse(b"state=a&code=c&state=a");
        assert_eq!(parameters.one("state"), Err(Repeated));
        assert_eq!(parameters.one("code"), Ok(Some("c")));
        assert_eq!(parameters.one("iss"), Ok(None));
    }
}
