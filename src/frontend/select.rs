//! From host and path to the frontend that answers there: exact host, then the longest path of whole segments.

use std::collections::HashMap;

use url::Url;

use crate::prefixes::Prefixes;

/// All frontends (or whatever belongs to them), found by where a request is for.
#[derive(Debug)]
pub(crate) struct FrontendTable<T> {
    /// An authority, with its port and, if that is a default one, without → place in `hosts`.
    by_authority: HashMap<String, usize>,
    /// Per host and port, by path.
    hosts: Vec<Prefixes<T>>,
}

/// What a request was for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Selected<T> {
    /// This one.
    Frontend(T),
    /// A host of ours, and no frontend at that path.
    NoPath,
    /// No host of ours.
    NoHost,
}

impl<T> FrontendTable<T> {
    /// From frontends' URLs. Two with the same URL are a finding of `config`; here the last wins.
    pub(crate) fn new(frontends: impl IntoIterator<Item = (Url, T)>) -> Self {
        let mut table = Self { by_authority: HashMap::new(), hosts: Vec::new() };
        for (url, frontend) in frontends {
            table.host(&url).insert(url.path(), frontend);
        }
        table
    }

    fn host(&mut self, url: &Url) -> &mut Prefixes<T> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let place = *self.by_authority.entry(format!("{host}:{port}")).or_insert(self.hosts.len());
        if place == self.hosts.len() {
            self.hosts.push(Prefixes::default());
        }
        match port {
            443 => drop(self.by_authority.insert(host.to_owned(), place)),
            80 => drop(self.by_authority.entry(host.to_owned()).or_insert(place)),
            _ => {}
        }
        &mut self.hosts[place]
    }

    /// The frontend for an authority as the browser said it (`shop.example`, `localhost:8080`) and a path. Without a port both
    /// default ones are meant, first that of https: behind a proxy that ends TLS, nothing here says which.
    pub(crate) fn select(&self, authority: Option<&str>, path: &str) -> Selected<&T> {
        let Some(paths) = authority.and_then(|authority| self.at(authority)) else {
            return Selected::NoHost;
        };
        paths.get(path).map_or(Selected::NoPath, Selected::Frontend)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.hosts.iter().flat_map(Prefixes::values)
    }

    fn at(&self, authority: &str) -> Option<&Prefixes<T>> {
        // As browsers write it, nothing has to be made of it.
        let place = self.by_authority.get(authority);
        let place = place.or_else(|| self.by_authority.get(&authority.to_ascii_lowercase()))?;
        self.hosts.get(*place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> FrontendTable<&'static str> {
        let url = |url: &str| Url::parse(url).expect("a URL");
        FrontendTable::new([
            (url("https://host.example/"), "root"),
            (url("https://host.example/shop/"), "shop"),
            (url("http://localhost:8080/"), "local"),
            (url("https://[::1]/app/"), "six"),
        ])
    }

    #[test]
    fn the_longest_path_of_whole_segments_wins() {
        let table = table();
        for (path, expected) in [("/", "root"), ("/shop", "shop"), ("/shop/cart", "shop"), ("/shopping", "root")] {
            assert_eq!(table.select(Some("host.example"), path), Selected::Frontend(&expected), "{path}");
        }
    }

    #[test]
    fn hosts_are_exact_and_ports_may_be_said_or_not() {
        let table = table();
        assert_eq!(table.select(Some("HOST.example:443"), "/"), Selected::Frontend(&"root"));
        assert_eq!(table.select(Some("localhost:8080"), "/x"), Selected::Frontend(&"local"));
        for authority in [
            "host.example:444",
            "evil.example",
            "host.example.",
            "localhost",
            "127.0.0.1:8080",
            "host.example:443:443",
            "",
        ] {
            assert_eq!(table.select(Some(authority), "/"), Selected::NoHost, "{authority}");
        }
        assert_eq!(table.select(None, "/"), Selected::NoHost);
    }

    #[test]
    fn a_host_may_have_no_frontend_at_a_path() {
        assert_eq!(table().select(Some("[::1]"), "/"), Selected::NoPath);
        assert_eq!(table().select(Some("[::1]:443"), "/app/"), Selected::Frontend(&"six"));
    }
}
