//! What a `postgres://` URL may say. `sqlx` passes over what it does not know; here that is an error, before a typo turns TLS off.

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// What is wrong with a URL. Never shows more of it than the name of a parameter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UrlError {
    #[error(
        "not a URL; write postgres://USER:PASSWORD@HOST:PORT/DATABASE, and in the password %40 for \"@\", %2F for \"/\", \
         %3F for \"?\", %23 for \"#\""
    )]
    NotAUrl,
    #[error("no host; write postgres://HOST/DATABASE, or postgres:///DATABASE?host=/var/run/postgresql for a socket")]
    NoHost,
    #[error("no database; write postgres://HOST/DATABASE")]
    NoDatabase,
    #[error("the parameter {0:?} is not known; there is {KNOWN}")]
    UnknownParameter(String),
    #[error("{0}")]
    Refused(String),
}

/// Reads a URL of this store.
///
/// # Errors
/// See [`UrlError`].
pub(crate) fn parse(text: &str) -> Result<PgConnectOptions, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::NotAUrl)?;
    // A password with a "?" or "#" in it would be read as parameters, and shown as the name of one.
    if url.fragment().is_some() || url.query().is_some_and(|query| query.contains('@')) {
        return Err(UrlError::NotAUrl);
    }
    let mut names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    if let Some(unknown) = names.iter().position(|name| !is_known(name)) {
        return Err(UrlError::UnknownParameter(names.swap_remove(unknown)));
    }
    let has = |name: &str| names.iter().any(|known| known == name);
    if url.host_str().is_none_or(str::is_empty) && !has("host") && !has("hostaddr") {
        return Err(UrlError::NoHost);
    }
    if url.path().trim_matches('/').is_empty() && !has("dbname") {
        return Err(UrlError::NoDatabase);
    }
    text.parse().map_err(|error: sqlx::Error| UrlError::Refused(error.to_string()))
}

fn is_known(name: &str) -> bool {
    let setting = name.strip_prefix("options[").and_then(|rest| rest.strip_suffix(']'));
    setting.is_some() || KNOWN.split(", ").any(|known| known == name)
}

const KNOWN: &str =
    "application_name, dbname, host, hostaddr, options, password, port, sslcert, sslkey, sslmode, sslrootcert, user";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_and_database() {
        for text in [
            "postgres://db/cloakroom",
            "postgresql://me:hunter2@db:5433/cloakroom?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://db/cloakroom?options=-c%20search_path%3Dcloakroom",
            "postgres://db/cloakroom?options[search_path]=cloakroom",
            "postgres:///cloakroom?host=/var/run/postgresql",
            "postgres://db?dbname=cloakroom",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        assert_eq!(parse("postgres:///cloakroom").unwrap_err(), UrlError::NoHost);
        assert_eq!(parse("postgres://db").unwrap_err(), UrlError::NoDatabase);
        assert_eq!(parse("postgres://db/").unwrap_err(), UrlError::NoDatabase);
    }

    #[test]
    fn a_misspelt_parameter_is_named_and_no_value_is() {
        let error = parse("postgres://db/x?sslmod=hunter2").unwrap_err();
        assert_eq!(error, UrlError::UnknownParameter("sslmod".to_owned()));
        assert!(!error.to_string().contains("hunter2"));
        for text in
            ["postgres://me:hun/ter2@db/x", "postgres://me:hunter2@db:port/x", "postgres://me:hunter2@db/x?port=y"]
        {
            assert!(!parse(text).unwrap_err().to_string().contains("hun"), "{text}");
        }
    }
}
