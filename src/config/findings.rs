//! Everything that is wrong with a configuration, told at once: where, from where, what, and what to write instead.
//!
//! A message never holds a secret: values are shown through [`values::shown`](super::values::shown), and values of secrets not at
//! all.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A configuration file; its name as it was given.
    File(String),
    /// A line of `.env`; the variable's name.
    DotEnv(String),
    /// A variable of the environment; its name.
    Variable(String),
    /// Nowhere: the value is missing, or a default.
    NotSet,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::DotEnv(name) => write!(f, "{name} in .env"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::NotSet => f.write_str("not set"),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The key (`frontends.shop.url`), the variable, or the line of a file.
    pub path: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The line of the file at or above the value, for the order; none comes last.
    pub(super) line: Option<usize>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.path, self.origin, self.message)
    }
}

/// Everything that is wrong, in the order of the file; what is in no file comes last. Never empty when it is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.line.unwrap_or(usize::MAX));
        Self(findings)
    }

    /// One by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "cloakroom: {} {problems} in the configuration", self.0.len())?;
        let width = |text: fn(&Finding) -> String| self.0.iter().map(|finding| text(finding).chars().count()).max();
        let paths = width(|finding| finding.path.clone()).unwrap_or(0);
        let origins = width(|finding| finding.origin.to_string()).unwrap_or(0) + "()".len();
        for Finding { path, origin, message, .. } in &self.0 {
            write!(f, "\n  {path:paths$}  {:origins$} {message}", format!("({origin})"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, origin: Origin, line: Option<usize>, message: &str) -> Finding {
        Finding { path: path.to_owned(), origin, message: message.to_owned(), line }
    }

    #[test]
    fn findings_stand_in_columns_in_the_order_of_the_file() {
        let file = || Origin::File("cloakroom.toml".to_owned());
        let variable = Origin::Variable("CLOAKROOM__SESSION__IDLE".to_owned());
        let findings = Findings::new(vec![
            finding("store.uri", file(), Some(9), "unknown key; did you mean \"url\"?"),
            finding("session.idle", variable, Some(6), "13h is longer than session.absolute 12h"),
            finding("frontends.shop.provider", file(), Some(3), "no provider \"crop\"; there is \"corp\""),
        ]);
        insta::assert_snapshot!(findings, @r#"
        cloakroom: 3 problems in the configuration
          frontends.shop.provider  (cloakroom.toml)                    no provider "crop"; there is "corp"
          session.idle             (variable CLOAKROOM__SESSION__IDLE) 13h is longer than session.absolute 12h
          store.uri                (cloakroom.toml)                    unknown key; did you mean "url"?
        "#);
    }
}
