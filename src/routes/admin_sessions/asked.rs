//! Which sessions an operator asks for. What is not said clearly means none: an empty `sub` must never stand for everybody.

use std::collections::BTreeMap;

use url::form_urlencoded;

use crate::Error;
use crate::session::Meant;

/// What names sessions when they are ended.
pub(super) const NAMED_BY: &[&str] = &["sub", "sid", "tag", "all"];
/// What names them when they are listed.
pub(super) const LISTABLE: &[&str] = &["sub", "sid"];
/// What narrows it down.
const WHERE: [&str; 2] = ["frontend", "issuer"];

/// A query that is clear.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The one parameter that names sessions.
    pub(super) by: &'static str,
    /// Its value, never empty.
    pub(super) value: String,
    pub(super) frontend: Option<String>,
    pub(super) issuer: Option<String>,
}

/// Why a query is not clear.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclear {
    #[error("a parameter is not known; there is {0}, frontend and issuer")]
    Unknown(String),
    #[error("{0} comes twice")]
    Repeated(&'static str),
    #[error("{0} is empty")]
    Empty(&'static str),
    #[error("exactly one of {0} is needed")]
    NotOne(String),
    #[error("all is written all=true")]
    AllIsTrue,
}

impl Asked {
    /// Reads a query that may name sessions by one of `named_by`.
    pub(super) fn read(query: Option<&str>, named_by: &'static [&'static str]) -> Result<Self, Unclear> {
        let mut given = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let known = named_by.iter().chain(&WHERE).find(|known| **known == name);
            let Some(known) = known.copied() else { return Err(Unclear::Unknown(named_by.join(", "))) };
            if value.is_empty() {
                return Err(Unclear::Empty(known));
            }
            if given.insert(known, value.into_owned()).is_some() {
                return Err(Unclear::Repeated(known));
            }
        }
        let [frontend, issuer] = WHERE.map(|name| given.remove(name));
        let mut names = given.into_iter();
        match (names.next(), names.next()) {
            (Some(("all", value)), None) if value != "true" => Err(Unclear::AllIsTrue),
            (Some((by, value)), None) => Ok(Self { by, value, frontend, issuer }),
            _ => Err(Unclear::NotOne(named_by.join(", "))),
        }
    }

    pub(super) fn meant(&self) -> Meant<'_> {
        Meant { frontend: self.frontend.as_deref(), issuer: self.issuer.as_deref() }
    }
}

impl From<Unclear> for Error {
    fn from(unclear: Unclear) -> Self {
        Self::SelectionInvalid { why: unclear.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_name_and_where_it_counts() {
        let asked = Asked::read(Some("issuer=https%3A%2F%2Fid.example&sub=a+b%2B&frontend=shop"), NAMED_BY).unwrap();
        assert_eq!((asked.by, asked.value.as_str()), ("sub", "a b+"));
        assert_eq!((asked.frontend.as_deref(), asked.issuer.as_deref()), (Some("shop"), Some("https://id.example")));
        assert_eq!(Asked::read(Some("all=true"), NAMED_BY).unwrap().by, "all");
    }

    #[test]
    fn what_is_not_clear_names_nobody() {
        let names = || NAMED_BY.join(", ");
        for (query, unclear) in [
            (None, Unclear::NotOne(names())),
            (Some(""), Unclear::NotOne(names())),
            (Some("frontend=shop"), Unclear::NotOne(names())),
            (Some("sub=a&sid=b"), Unclear::NotOne(names())),
            (Some("sub=a&all=true"), Unclear::NotOne(names())),
            (Some("sub=&all=true"), Unclear::Empty("sub")),
            (Some("sub="), Unclear::Empty("sub")),
            (Some("sub"), Unclear::Empty("sub")),
            (Some("sub=a&frontend="), Unclear::Empty("frontend")),
            (Some("sub=a&sub=a"), Unclear::Repeated("sub")),
            (Some("sub=a&issuer=b&issuer=c"), Unclear::Repeated("issuer")),
            (Some("all"), Unclear::Empty("all")),
            (Some("all=false"), Unclear::AllIsTrue),
            (Some("all=1"), Unclear::AllIsTrue),
            (Some("SUB=a"), Unclear::Unknown(names())),
            (Some("sub=a&access_token=b"), Unclear::Unknown(names())),
            (Some("sub=a&=b"), Unclear::Unknown(names())),
        ] {
            assert_eq!(Asked::read(query, NAMED_BY), Err(unclear), "{query:?}");
        }
        for query in ["all=true", "tag=0123456789abcdef"] {
            assert_eq!(Asked::read(Some(query), LISTABLE), Err(Unclear::Unknown("sub, sid".to_owned())));
        }
    }
}
