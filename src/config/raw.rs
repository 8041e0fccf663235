//! The keys that exist, as serde reads them. Values stay as they are ([`Leaf`]), so that all wrong ones can be told together;
//! [`Section`](super::reader::Section) turns them into what they mean.

use std::collections::BTreeMap;

use serde::de::value::Error as DeError;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use toml::Value;

use super::path::{KeyPath, Step};
use super::tree::{self, Tree};

/// A value, not looked at yet; or none.
#[derive(Default)]
pub(super) struct Leaf(pub(super) Option<Value>);

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        pub(super) struct $name { $(pub(super) $field: $type),* }
    };
}

section! {
    /// The whole.
    Root {
        server: Server, keys: Keys, store: Store, session: Session,
        providers: BTreeMap<String, Provider>, frontends: BTreeMap<String, Frontend>,
    }
}
section! {
    /// `[server]`
    Server {
        listen: Leaf, admin_listen: Leaf, admin_token: Leaf, trusted_proxies: Leaf, tls: Option<Tls>, drain: Leaf, log: Leaf,
        log_level: Leaf, hosts: Leaf, ca_file: Leaf, denied_addresses: Leaf, max_headers: Leaf,
        max_header_count: Leaf, max_in_flight: Leaf, max_connections: Leaf, login_rate: Leaf,
    }
}
section! {
    /// `server.tls`
    Tls { cert: Leaf, key: Leaf }
}
section! {
    /// `[keys]`
    Keys { master: Leaf }
}
section! {
    /// `[store]`
    Store { url: Leaf, timeout: Leaf, lease: Leaf, replicas_written: Leaf }
}
section! {
    /// `[session]`
    Session { idle: Leaf, absolute: Leaf, remember_absolute: Leaf, cookie_name: Leaf, max_per_subject: Leaf }
}
section! {
    /// `[providers.NAME]`
    Provider {
        issuer: Leaf, clock_skew: Leaf, id_token_alg: Leaf, trusted_audiences: Leaf, acr_order: Leaf, timeout: Leaf,
    }
}
section! {
    /// `[frontends.NAME]`
    Frontend {
        url: Leaf, base_path: Leaf, csrf_header: Leaf, provider: Leaf, client_id: Leaf, allow_public_client: Leaf,
        client_auth: ClientAuth, scopes: Leaf, response_mode: Leaf, userinfo: Leaf, allowed_login_parameters: Leaf,
        frontchannel_logout: Leaf, assets: Assets, after_logout: Leaf, routes: Vec<Route>,
    }
}
section! {
    /// `client_auth`
    ClientAuth { method: Leaf, secret: Leaf }
}
section! {
    /// `assets`
    Assets { dir: Leaf, proxy: Leaf }
}
section! {
    /// `[[frontends.NAME.routes]]`
    Route {
        path: Leaf, upstream: Leaf, addresses: Leaf, max_connections: Leaf, upstream_tls: Option<UpstreamTls>, http_version: Leaf,
        methods: Leaf, token: Leaf, session: Leaf, min_acr: Leaf, max_auth_age: Leaf, csrf: Leaf, csrf_reason: Leaf, documents: Leaf,
        shared_cache: Leaf, forward_cookies: Leaf, response_cookies: Leaf, timeout: Leaf, idle_timeout: Leaf, max_body: Leaf,
    }
}
section! {
    /// `upstream_tls` of a route
    UpstreamTls { ca_file: Leaf, cert: Leaf, key: Leaf, server_name: Leaf }
}

/// A place that holds a value where something else belongs.
pub(super) struct Misshapen {
    pub(super) path: KeyPath,
    pub(super) expected: &'static str,
}

/// Reads the merged values. Also answers the paths of keys that do not exist.
///
/// # Errors
/// Every place that holds a value where a table or list of tables belongs.
pub(super) fn read(tree: &Tree) -> Result<(Root, Vec<KeyPath>), Vec<Misshapen>> {
    let mut values = tree.values.clone();
    let mut misshapen: Vec<Misshapen> = Vec::new();
    loop {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(Value::Table(values.clone()), &mut track);
        let root = serde_ignored::deserialize(tracked, |path| unknown.push(KeyPath::from(&path)));
        match root {
            Ok(root) if misshapen.is_empty() => return Ok((root, unknown)),
            Ok(_) => return Err(misshapen),
            Err(_) => {
                let path = KeyPath::from(&track.path());
                // Without progress there would be no end.
                if path == KeyPath::default() || misshapen.iter().any(|known| known.path == path) {
                    misshapen.push(Misshapen { path, expected: "a table" });
                    return Err(misshapen);
                }
                let expected = if path.to_string().ends_with(".routes") { "a list of tables" } else { "a table" };
                tree::remove(&mut values, &path);
                misshapen.push(Misshapen { path, expected });
            }
        }
    }
}

/// The keys of the section at this path; none if there is no such section.
pub(super) fn keys_of(section: &KeyPath) -> &'static [&'static str] {
    match section.pattern().as_str() {
        "" => fields::<Root>(),
        "server" => fields::<Server>(),
        "server.tls" => fields::<Tls>(),
        "keys" => fields::<Keys>(),
        "store" => fields::<Store>(),
        "session" => fields::<Session>(),
        "providers.NAME" => fields::<Provider>(),
        "frontends.NAME" => fields::<Frontend>(),
        "frontends.NAME.client_auth" => fields::<ClientAuth>(),
        "frontends.NAME.assets" => fields::<Assets>(),
        "frontends.NAME.routes[]" => fields::<Route>(),
        "frontends.NAME.routes[].upstream_tls" => fields::<UpstreamTls>(),
        _ => &[],
    }
}

/// Whether a key is planned but not in this version. `harmless` values say what this version does anyway.
pub(super) fn is_later(path: &KeyPath, value: Option<&Value>) -> Option<Later> {
    let (section, Step::Key(key)) = path.split_last()? else { return None };
    let pattern = section.pattern();
    let (_, _, harmless) = LATER.iter().find(|(section, name, _)| *section == pattern && name == key)?;
    let harmless = match (harmless, value) {
        (Harmless::Text(harmless), Some(Value::String(text))) => harmless == text,
        _ => false,
    };
    Some(if harmless { Later::Harmless } else { Later::Unsupported })
}

/// What a key of a later version asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// What this version does anyway.
    Harmless,
    /// What this version cannot do.
    Unsupported,
}

/// Which value of a later key asks for nothing new.
enum Harmless {
    Never,
    Text(&'static str),
}

const LATER: &[(&str, &str, Harmless)] = &[
    ("server", "forward_auth_listen", Harmless::Never),
    ("providers.NAME", "profile", Harmless::Text("default")),
    ("providers.NAME", "par", Harmless::Text("off")),
    ("providers.NAME", "dpop", Harmless::Text("off")),
    ("providers.NAME", "jar", Harmless::Text("off")),
    ("providers.NAME", "jarm", Harmless::Text("off")),
    ("frontends.NAME.client_auth", "key", Harmless::Never),
    ("frontends.NAME.client_auth", "cert", Harmless::Never),
    ("frontends.NAME.routes[]", "resource", Harmless::Never),
    ("frontends.NAME.routes[]", "scopes", Harmless::Never),
    ("frontends.NAME.routes[]", "exchange", Harmless::Never),
];

/// The field names of a struct, asked from its `Deserialize`.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // Always an error: the fields are known by then.
    let _ = T::deserialize(FieldNames(&mut fields));
    fields
}

struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = DeError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, DeError> {
        *self.0 = fields;
        Err(DeError::custom("only the names were asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, DeError> {
        Err(DeError::custom("not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// Every key there is, as the documentation writes it: `frontends.NAME.routes[].path`. Sections that hold sections are not keys.
#[cfg(test)]
pub(super) fn all_keys() -> std::collections::BTreeSet<String> {
    let name = |section: &str| KeyPath::of(section).key("NAME");
    let route = name("frontends").key("routes").index(0);
    let sections = ["server", "server.tls", "keys", "store", "session"].map(KeyPath::of).into_iter();
    let upstream_tls = route.key("upstream_tls");
    let frontend = [name("frontends").key("client_auth"), name("frontends").key("assets"), route, upstream_tls];
    let sections: Vec<KeyPath> = sections.chain([name("providers"), name("frontends")]).chain(frontend).collect();
    let keys = sections.iter().flat_map(|section| keys_of(section).iter().map(|key| section.key(key).pattern()));
    let patterns: Vec<String> = sections.iter().map(KeyPath::pattern).collect();
    keys.filter(|key| !patterns.iter().any(|section| section == key || *section == format!("{key}[]"))).collect()
}
