//! The proxy's steps of a call, within reach of `benches/micro.rs`.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::Url;

use super::{Client, ClientHops, ForwardContext, Route, RouteOptions, RouteTable, Scheme, Upgrades, headers};
use crate::tls;

/// A table of routes.
#[derive(Debug)]
pub struct Routes(RouteTable);

impl Routes {
    /// `/api/0` and so on, all on one upstream.
    pub fn new(many: usize) -> Self {
        Self(table((0..many).map(|nth| format!("/api/{nth}"))))
    }

    /// Whether a GET on this path has a route.
    pub fn has(&self, path: &str) -> bool {
        self.0.find(path, &Method::GET).is_ok()
    }
}

/// A call on the route `/api`, made by a browser that reached us at `shop.example`.
#[derive(Debug)]
pub struct Call {
    routes: RouteTable,
    hops: ClientHops,
    upgrades: Upgrades,
    csrf_header: HeaderName,
    own_cookies: Vec<String>,
    asked: Uri,
}

impl Default for Call {
    fn default() -> Self {
        let hops = ClientHops {
            client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
            proxies: Vec::new(),
            scheme: Scheme::Https,
            host: Some(HeaderValue::from_static("shop.example")),
        };
        Self {
            routes: table(["/api".to_owned()]),
            hops,
            upgrades: Upgrades::default(),
            csrf_header: HeaderName::from_static("x-csrf"),
            own_cookies: vec!["__Host-Http-cloakroom".to_owned()],
            asked: Uri::from_static("http://127.0.0.1:9/v1/orders"),
        }
    }
}

impl Call {
    /// Where the call goes, if it may.
    pub fn target(&self, path: &str, query: Option<&str>) -> Option<Uri> {
        self.route().upstream.join("/api", path, query).ok()
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
        headers::outgoing(headers, self.route(), &context);
    }

    /// Makes an upstream's headers those of our answer.
    pub fn returning(&self, headers: &mut HeaderMap) {
        headers::returning(headers, self.route(), &self.own_cookies, &self.asked);
    }

    fn route(&self) -> &Route {
        self.routes.find("/api", &Method::GET).expect("it is the only one")
    }
}

fn table(paths: impl IntoIterator<Item = String>) -> RouteTable {
    let client = Client::new(&tls::client_config(None).expect("only roots of our own could be wrong"));
    let upstream = Url::parse("http://127.0.0.1:9/v1").expect("it is a URL");
    let routes = paths.into_iter().map(|path| RouteOptions::new(path, upstream.clone())).collect();
    RouteTable::new(routes, &client).expect("no two have one path")
}
