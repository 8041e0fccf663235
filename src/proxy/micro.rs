//! The proxy's steps of a call, within reach of `benches/micro.rs`.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::Url;

use super::{Client, ClientHops, ForwardContext, Route, RouteOptions, RouteTable, Scheme, Upgrades, headers};
use crate::denied::DeniedAddresses;
use crate::tls;

/// A table of routes.
#[derive(Debug)]
pub struct Routes(RouteTable);

impl Routes {
    /// `/api/0` and so on, all on the upstream `http://127.0.0.1:9/v1`.
    pub fn new(many: usize) -> Self {
        Self(table(many))
    }

    /// Whether a GET on this path has a route.
    pub fn has(&self, path: &str) -> bool {
        self.0.find(path, &Method::GET).is_ok()
    }

    /// A call on the route `/api/0`.
    pub fn call(&self) -> Call<'_> {
        let hops = ClientHops {
            client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
            proxies: Vec::new(),
            scheme: Scheme::Https,
            host: Some(HeaderValue::from_static("shop.example")),
        };
        Call {
            route: first(&self.0),
            hops,
            upgrades: Upgrades::default(),
            csrf_header: HeaderName::from_static("x-csrf"),
            own_cookies: vec!["__Host-Http-cloakroom".to_owned()],
            asked: Uri::from_static("http://127.0.0.1:9/v1/orders"),
        }
    }
}

/// A call whose route is found, by a browser that reached us at `shop.example`.
#[derive(Debug)]
pub struct Call<'a> {
    route: &'a Route,
    hops: ClientHops,
    upgrades: Upgrades,
    csrf_header: HeaderName,
    own_cookies: Vec<String>,
    asked: Uri,
}

impl Call<'_> {
    /// Where it goes, if it may.
    pub fn target(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        self.route.upstream.join("/api/0", path, query).ok()
    }

    /// Makes a browser's headers those of the outgoing call.
    pub fn outgoing(&self, headers: &mut HeaderMap) {
        let context = ForwardContext {
            hops: &self.hops,
            csrf_header: &self.csrf_header,
            own_cookies: &self.own_cookies,
            upgrades: &self.upgrades,
            session: None,
        };
        headers::outgoing(headers, self.route, &context);
    }

    /// Makes an upstream's headers those of our answer.
    pub fn returning(&self, headers: &mut HeaderMap) {
        headers::returning(headers, self.route, &self.own_cookies, &self.asked);
    }
}

fn table(many: usize) -> RouteTable {
    let client = Client::new(
        tls::client_config(None).expect("only roots of our own could be wrong"),
        DeniedAddresses::default(),
    );
    let upstream = Url::parse("http://127.0.0.1:9/v1").expect("it is a URL");
    let routes = (0..many).map(|nth| RouteOptions::new(format!("/api/{nth}"), upstream.clone())).collect();
    RouteTable::new(routes, &client).expect("no two have one path")
}

fn first(table: &RouteTable) -> &Route {
    table.find("/api/0", &Method::GET).expect("there is at least one")
}
